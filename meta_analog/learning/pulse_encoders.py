"""Pulse encoders: from a target weight change to whole numbers of pulses.

Axes: P polarity, K pulse, N sample, F feature (with bias), O out.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.learning import meta_parameters
from meta_analog.learning import plasticity
from meta_analog.programming import pulse_response


def encode_threshold(delta_w: jax.Array,
                     stairs: jax.Array,
                     params: meta_parameters.RuleParams,
                     layer: int,
                     features: jax.Array | None = None,
                     error: jax.Array | None = None) -> jax.Array:
  """Returns one pulse where |delta_w| exceeds the learned threshold.

  The original rule of one thresholded pulse from the batch gradient.
  """
  del stairs, features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return quantization.threshold_pulse(delta_w, threshold)


def encode_nearest(delta_w: jax.Array,
                   stairs: jax.Array,
                   params: meta_parameters.RuleParams,
                   layer: int,
                   features: jax.Array | None = None,
                   error: jax.Array | None = None) -> jax.Array:
  """Returns the pulses whose mean effect comes nearest to delta_w.

  The first pulse is given when delta_w exceeds the learned threshold, as a
  fraction of that pulse's effect.

  Args:
    delta_w: [F, O].
    stairs: [P, K + 1, F, O], see `pulse_response.table`.
    params: learned settings.
    layer: index into params.
    features: not used.
    error: not used.

  Returns:
    [F, O], signed whole numbers.
  """
  del features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return pulse_response.pulses_from_table(delta_w, stairs, threshold)


def encode_sign(delta_w: jax.Array,
                stairs: jax.Array,
                params: meta_parameters.RuleParams,
                layer: int,
                features: jax.Array | None = None,
                error: jax.Array | None = None) -> jax.Array:
  """Returns one pulse in the direction of delta_w: the grid of one bit."""
  del params, layer, features, error
  unit = jnp.maximum(jnp.max(stairs[0, 1]), 1e-9)
  return quantization.round_to_level(delta_w / unit, bits=1)


def encode_descent(delta_w: jax.Array,
                   stairs: jax.Array,
                   params: meta_parameters.RuleParams,
                   layer: int,
                   features: jax.Array | None = None,
                   error: jax.Array | None = None,
                   *,
                   num_sweeps: int = 2) -> jax.Array:
  """Returns pulses chosen together, by coordinate descent on the support set.

  Starts from `encode_nearest` and is differentiated as it. (As the ridge
  regression that the levels round, the harm of pulses in it, training went
  astray: configs/perf.py fell to 0.04 and rose to 0.10.) The objective is
  the support error of the mean effects, plus the ridge penalty on the change.
  The harm of write noise grows with the number of pulses and with the power of
  the feature, so each pulse costs exp(log_harm) * power * (first step)^2.

  Args:
    delta_w: [F, O].
    stairs: [P, K + 1, F, O].
    params: learned settings.
    layer: index into params.
    features: [N, F].
    error: [N, O].
    num_sweeps: passes over all weights.

  Returns:
    [F, O], signed whole numbers.
  """
  nearest = encode_nearest(delta_w, stairs, params, layer)
  num_levels = stairs.shape[1] - 1
  levels = jnp.concatenate([-stairs[1, :0:-1], stairs[0]])  # [2 K + 1, F, O]
  count = jnp.abs(jnp.arange(-num_levels, num_levels + 1))[:, None, None]
  power = jnp.mean(jnp.square(features), axis=0)[:, None]  # [F, 1]
  harm = jnp.exp(params.log_harm) * power * jnp.square(stairs[0, 1])
  cost = jnp.exp(params.log_penalty) * jnp.square(levels) + harm[None] * count
  real = jax.vmap(pulse_response.is_rising)(stairs)
  real = jnp.concatenate([real[1, :0:-1], real[0]])
  cost = jnp.where(real, cost, jnp.inf)
  start = jax.lax.stop_gradient(nearest).astype(jnp.int32) + num_levels
  best = plasticity.descend_levels(
      features, error, levels, start, cost, num_sweeps=num_sweeps)
  chosen = (best - num_levels).astype(delta_w.dtype)
  return quantization.straight_through(chosen, nearest)
