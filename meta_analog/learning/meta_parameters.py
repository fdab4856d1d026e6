"""Meta-parameters of the crossbars and of the update rule.

Axes: L layer.
"""

from typing import NamedTuple

import jax

from meta_analog.networks import network


class RuleParams(NamedTuple):
  """Parameters of an update rule, as logarithms of positive numbers."""

  log_rate: jax.Array  # [L], learning rate of each layer, delta rule
  log_threshold: jax.Array  # [L], of the first pulse, see `pulse_encoders`
  log_penalty: jax.Array  # scalar, ridge penalty
  # Scalar, see `pulse_encoders.encode_descent`. It takes part only in a choice
  # among levels, so it has no gradient and is not learned.
  log_write_noise_penalty: jax.Array


class Theta(NamedTuple):
  """Meta-parameters of a learner."""

  layers: tuple[network.LayerParams, ...]
  rule: RuleParams
