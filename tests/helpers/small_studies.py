"""Two rows for tests of studies, and a study of them."""

from configs.studies import sinusoid

TRAINED = {'name': 'a', 'label': 'the label', 'config': 'configs/pcm.py:tiny',
           'required': {'251': 0.2}}
EVALUATED = {'name': 'b', 'source': 'a',
             'overrides': {'crossbar.fresh_read_share': 0.0}}


def config(*rows, seeds=(0, 1)):
  config = sinusoid.get_config('pcm')
  with config.unlocked():
    config.rows, config.seeds = rows, seeds
  return config
