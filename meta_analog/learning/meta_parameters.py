"""Meta-parameters: of each crossbar, and of the update rule."""

from typing import NamedTuple

import jax

from meta_analog.networks import network


class RuleParams(NamedTuple):
  """Settings of a rule, learned but for the last; all act through exp."""

  log_rate: jax.Array  # [L], learning rate of each layer, delta rule
  log_threshold: jax.Array  # [L], see the encoders
  log_penalty: jax.Array  # scalar, ridge penalty
  log_harm: jax.Array  # scalar, weight of the write noise in 'descent'; it


  # only enters a choice among levels and so gets no gradient
class Theta(NamedTuple):
  """Meta-parameters of a learner."""

  layers: tuple[network.LayerParams, ...]
  rule: RuleParams
