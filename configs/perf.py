"""Sinusoids in performance mode: ideal devices, updates of two bits.

    python launch/main.py --config configs/perf.py

The same network on ideal devices that start from random weights and are then
meta-trained. A new task is learned from 20 samples by one write of the output
layer, in which every weight moves by -1, 0 or +1 steps of a learned size.

Measured at commit 6c9cbc6, jax 0.10.2, 2 busy CPU cores: query mean squared
error 2.95 before and 0.0139 +- 0.0006 after adaptation (1,000 held-out tasks,
100 fresh chips, seed 0; 36 s of training on idle cores at commit 68a9ed018f);
four events 0.0074 +- 0.0004 (commit 8fb9c5699c, 182 s on one busy core).
"""

import ml_collections

from meta_analog.config import defaults

VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': defaults.TINY | {
        'network.hidden_sizes': (8, 8), 'network.num_time_steps': 20},
    # Four adaptation events, each measured on the array it corrects.
    'four_events': {'adapt.num_events': 4, 'training.num_steps': 600},
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='sinusoid')
  c.name = 'perf'
  c.update_from_flattened_dict(defaults.IDEAL)
  c.crossbar.update(hidden_devices=1, output_devices=1)
  c.adapt.update_bits = 2  # levels -1, 0, +1
  c.init.harm = 1e-3  # next to none: writes have no noise
  return defaults.with_variants(c, VARIANTS, argument)
