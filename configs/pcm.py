"""Sinusoids on phase-change memory: meta-train, program, adapt by pulses.

    python launch/main.py --config configs/pcm.py

Every layer of an 8-40-40-1 spiking network is on PCM devices with all their
noise; x enters as eight currents. A new task is learned from 20 samples by one
train of blind pulses on the output layer.

Measured at commit cfec306, jax 0.10.2, 2 cores of an Intel Xeon (2 minutes of
training on idle ones): query mean squared error 3.54 before and 0.044 +- 0.004
after adaptation (1,000 held-out tasks, 100 fresh chips, seed 0; 0.066 +- 0.060
for seeds 0, 1 and 2).
The variants are rows of configs/studies/sinusoid.py.
"""

import ml_collections

from meta_analog.config import defaults

DELTA = {
    'adapt.rule': 'delta',
    'adapt.encoding': 'nearest',
    'init.rate': 3.0,
    'training.num_steps': 400,
}
VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': defaults.TINY | {
        'network.hidden_sizes': (8, 8), 'network.num_time_steps': 20},
    # The original's rule: one pulse where the batch gradient is large enough.
    'single_pulse': {
        'adapt.rule': 'delta',
        'adapt.encoding': 'threshold',
        'adapt.update_bits': 2,
        'init.rate': 1.0,
        'init.threshold': 0.1,
        'training.rate_max_Hz': 150.0,  # else 220 Hz in the last hidden layer
    },
    # Three corrective events, each measured on the array it corrects.
    'closed_loop': {
        'adapt.num_events': 3,
        # Devices just written conduct more than they will: by 8 % after 19 s.
        'adapt.event_interval_s': 20.0,
        'training.num_steps': 600,
    },
    # MAML over all layers: every crossbar is written, by its own gradient.
    'all_layers': DELTA | {'adapt.layers': 'all'},
    # The same without second derivatives.
    'all_layers_first_order': DELTA | {
        'adapt.layers': 'all', 'adapt.order': 'first'},
    # The delta rule on the output layer alone, to be compared with all layers.
    'delta': DELTA,
    # One device per polarity everywhere.
    'one_device': {
        'crossbar.hidden_devices': 1,
        'crossbar.output_devices': 1,
    },
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='sinusoid')
  c.name = 'pcm'
  c.training.num_steps = 1200
  return defaults.with_variants(c, VARIANTS, argument)
