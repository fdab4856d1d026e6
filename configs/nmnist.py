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

VARIANTS = defaults.FEW_SHOT_VARIANTS


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='nmnist')
  return defaults.with_variants(c, VARIANTS, argument)
