"""Sinusoids in float: the same spiking network, written exactly.

    python launch/main.py --config configs/float.py

What devices and converters cost is seen against this: ideal devices, which take
the target change of the output layer as it is, and inputs and outputs of
float32. A new task is learned from 20 samples by one ridge regression in the
periphery, or by several steps of the delta rule (`:delta_steps`); as everywhere
the network is meta-trained through it.

Measured at commit 2de6318967, jax 0.10.2, one CPU core of two shared with other
jobs: 120 s of training, query mean squared error 2.96 before and 0.0015 +-
0.0003 after adaptation (1,000 held-out tasks, 100 fresh chips, seed 0).
"""

import ml_collections

from meta_analog.config import defaults

VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': defaults.TINY | {
        'network.hidden_sizes': (8, 8), 'network.num_time_steps': 20},
    # Gradient steps on the support set, in the periphery, in one event.
    'delta_steps': {'adapt.rule': 'delta', 'adapt.num_steps': 5},
    # Fewer samples of a new task.
    'ten_shot': {'task.support_size': 10},
    'five_shot': {'task.support_size': 5},
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='sinusoid')
  c.name = 'float'
  c.update_from_flattened_dict(defaults.IDEAL | defaults.EXACT)
  c.crossbar.update(hidden_devices=1, output_devices=1)
  c.adapt.encoding = 'nearest'  # of pulses, which an exact write has none of
  c.adapt.update_bits = 2
  c.init.harm = 1e-3
  return defaults.with_variants(c, VARIANTS, argument)
