"""Omniglot on PCM: characters told apart that were seen once.

    python launch/main.py --config configs/omniglot.py

A spiking convolutional network whose every layer is on PCM, with programming
error, drift and read noise. Hidden layers are meta-trained and then left as
they are; a new task writes the output layer alone, once.

The hidden layers are pretrained in float first: 12,000 steps in 38 minutes on
one of two busy cores (commit 8a02057, seed 0, which left
configs/pretrained/omniglot_float.npz). From that file, by

    --config.training.begin_with=configs/pretrained/omniglot_float.npz
    --config.training.pretrain_steps=0

meta-training, the test of 1,000 tasks and the figures take the minutes below,
and end in these accuracies (seed 0, one of two busy cores; 5way1shot at commit
cfec306, the others at 2e8575e, when devices were not yet RESET at their lowest
target):

    variant      minutes   at 251 s         after a day   after 30 days
    5way1shot          5   0.970 +- 0.003   0.970         0.969
    5way5shot          6   0.995 +- 0.001   0.995         0.995
    20way1shot         9   0.930 +- 0.003   0.929         0.927
    20way5shot        24   0.982 +- 0.001   0.982         0.981

(the last beside two others on the two cores).
"""

import ml_collections

from meta_analog.config import defaults

# More classes take finer weights, and so more pulses.
TWENTY = {'task.way': 20, 'task.query_shot': 2,
          'init.weight_max': (3.0, 1.5, 0.0625)}
VARIANTS = defaults.FEW_SHOT_VARIANTS | {
    '5way5shot': {'task.way': 5, 'task.shot': 5},
    '20way1shot': TWENTY | {'task.shot': 1},
    '20way5shot': TWENTY | {'task.shot': 5},
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config; argument: comma-separated variants."""
  c = defaults.get_config(task='omniglot')
  return defaults.with_variants(c, VARIANTS, argument)
