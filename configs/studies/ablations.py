"""Ablations: each measure of the configs left out, to see what it is worth.

    python launch/study.py --config configs/studies/ablations.py \\
        --workdir runs/ablations

On seed 10, which is in no other table; one training a row, so that chance has a
part in each. The first row of each group is the config as it stands.
"""

import ml_collections

from meta_analog.studies import rows

trained, evaluated = rows.trained, rows.evaluated
PCM = 'one event on phase-change memory'
PERF = 'performance mode, 2 bits, one event'

ROWS = (
    trained('pcm', PCM, 'as it stands', 'pcm'),
    trained('nearest', PCM, 'every weight rounded by itself', 'pcm',
            {'adapt.encoding': 'nearest'}),
    trained('harmless', PCM, 'levels chosen as if pulses had no noise', 'pcm',
            {'init.harm': 1e-6}),
    trained('one_current', PCM, 'x as one current', 'pcm',
            {'network.input_channels': 1}),
    trained('no_ramp', PCM, 'all of the noise from the first step', 'pcm',
            {'training.noise_full': 0.0}),
    trained('earlier', PCM, 'meta-trained for 151 s instead of 251 s', 'pcm',
            {'training.t_query_s': 151.0}),
    trained('six_bits', PCM, 'up to 31 pulses instead of 15', 'pcm',
            {'adapt.update_bits': 6}),
    evaluated('verified', 'the same nets, each weight verified', 'pcm',
              {'adapt.write': 'verified'}, group=PCM),
    trained('perf', PERF, 'as it stands', 'perf'),
    trained('perf_nearest', PERF, 'every weight rounded by itself', 'perf',
            {'adapt.encoding': 'nearest'}),
    trained('perf_one_current', PERF, 'x as one current', 'perf',
            {'network.input_channels': 1}),
)


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config of the study; see `rows.config`."""
  return rows.config(
      argument, ROWS, seeds=(10,),
      times_s=(251.0, 86400.0, 2592000.0, 31536000.0))
