"""Double N-MNIST on PCM: pairs of digits told apart, from a camera's events.

    python launch/main.py --config configs/nmnist.py

The network of configs/omniglot.py on what a neuromorphic camera saw: events,
binned by time step. The folder of the recordings is named by META_ANALOG_DATA
or --config.task.data_dir.

The hidden layers are pretrained in float first: 2,000 steps in 23 minutes on
one of two busy cores (commit 8ef67d4, seed 0, which left
configs/pretrained/nmnist_float.npz). From that file, by

    --config.training.begin_with=configs/pretrained/nmnist_float.npz
    --config.training.pretrain_steps=0

meta-training, the test of 1,000 tasks and the figures take 11 minutes on one of
two busy cores and end in an accuracy of 0.984 +- 0.002 at 251 s, 0.984 after a
day and 0.984 after 30 days (commit 2e8575e, seed 0, of 1,100 recordings).
"""

import ml_collections

from meta_analog.config import defaults

# As many devices as on PCM where they are ideal, since the gains of pretrained
# layers are of that many.
VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': defaults.TINY | {
        'network.convolutions': ((4, 5, 3), (8, 3, 2)),
        'training.pretrain_steps': 20, 'training.pretrain_way': 5},
    # The float reference: exact devices, converters and writes.
    'float': defaults.IDEAL | defaults.EXACT,
    # Performance mode: ideal devices, coarse writes.
    'two_bits': defaults.IDEAL | {'adapt.update_bits': 2},
    'four_bits': defaults.IDEAL | {'adapt.update_bits': 4},
    # Three events on PCM, each measured on the array that it corrects.
    'closed_loop': {'adapt.num_events': 3, 'adapt.event_interval_s': 20.0},
    '5way1shot': {'task.way': 5, 'task.shot': 1},  # the default
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='nmnist')
  return defaults.with_variants(c, VARIANTS, argument)
