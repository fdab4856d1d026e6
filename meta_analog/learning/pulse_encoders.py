"""Pulse encoders: whole numbers of pulses for a target weight change.

All share the arguments of `encode_nearest`. A pulse response is the table of
the mean weight change after 0 to K pulses on either side of a pair, as the
controller's noise-free model predicts it, see `pulse_response.table`.

Axes: P polarity (plus, minus), K pulse, N sample, F feature (with bias), O out.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.learning import meta_parameters
from meta_analog.learning import plasticity
from meta_analog.programming import pulse_response

MIN_STEP = 1e-9  # weight, so that saturated devices divide by no zero


def encode_threshold(
    delta_w: jax.Array,
    response: jax.Array,
    params: meta_parameters.RuleParams,
    layer: int,
    features: jax.Array | None = None,
    error: jax.Array | None = None,
) -> jax.Array:
  """Returns one pulse where |delta_w| exceeds the learned threshold.

  Source: the rule of the original code, one pulse from a batch gradient.

  Args:
    delta_w: [F, O].
    response: not used.
    params: gives the threshold, a weight.
    layer: index into params.
    features: not used.
    error: not used.

  Returns:
    [F, O], -1, 0 or +1; see `quantization.threshold_pulse` for its gradient.
  """
  del response, features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return quantization.threshold_pulse(delta_w, threshold)


def encode_nearest(
    delta_w: jax.Array,
    response: jax.Array,
    params: meta_parameters.RuleParams,
    layer: int,
    features: jax.Array | None = None,
    error: jax.Array | None = None,
) -> jax.Array:
  """Returns the pulses whose mean weight change is nearest to delta_w.

  The first pulse is given where delta_w exceeds the learned threshold, which is
  a fraction of that pulse's mean weight change.

  Args:
    delta_w: target weight change, [F, O].
    response: [P, K + 1, F, O], see the module.
    params: gives the threshold.
    layer: index into params.
    features: not used.
    error: not used.

  Returns:
    [F, O], whole numbers from -K to K; positive ones are pulses on the plus
    side. Differentiated as `pulse_response.nearest_level`.
  """
  del features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return pulse_response.pulses_from_table(delta_w, response, threshold)


def encode_sign(
    delta_w: jax.Array,
    response: jax.Array,
    params: meta_parameters.RuleParams,
    layer: int,
    features: jax.Array | None = None,
    error: jax.Array | None = None,
) -> jax.Array:
  """Returns one pulse in the direction of every delta_w: updates of one bit.

  Args:
    delta_w: target weight change, [F, O].
    response: [P, K + 1, F, O]; its largest first pulse is the unit of the
      straight-through gradient.
    params: not used.
    layer: not used.
    features: not used.
    error: not used.

  Returns:
    [F, O], -1 or +1; +1 where delta_w is 0.
  """
  del params, layer, features, error
  unit = jnp.maximum(jnp.max(response[0, 1]), MIN_STEP)
  return quantization.round_to_level(delta_w / unit, bits=1)


def encode_descent(
    delta_w: jax.Array,
    response: jax.Array,
    params: meta_parameters.RuleParams,
    layer: int,
    features: jax.Array | None = None,
    error: jax.Array | None = None,
    *,
    num_sweeps: int = 2,
) -> jax.Array:
  """Returns pulses that minimise the support error, by coordinate descent.

  With dW(n) the mean weight change of n pulses, `plasticity.coordinate_descent`
  starts from `encode_nearest` and lowers

      |e - f dW(n)|^2 / N + penalty |dW(n)|^2
          + write_noise_penalty sum_ij <f_i^2> dW_ij(1)^2 |n_ij|

  The last term stands for write noise, whose variance grows with the number of
  pulses and with the power of the feature. The result is differentiated as
  `encode_nearest`: with the gradient of the regularised regression that the
  levels round, meta-training was unstable (the loss of configs/perf.py fell to
  0.04 and rose to 0.10).

  Args:
    delta_w: target weight change, [F, O].
    response: [P, K + 1, F, O], see the module.
    params: gives the threshold and both penalties.
    layer: index into params.
    features: f, [N, F].
    error: e, [N, O], target minus output.
    num_sweeps: passes over all weights.

  Returns:
    [F, O], whole numbers from -K to K.
  """
  nearest = encode_nearest(delta_w, response, params, layer)
  num_levels = response.shape[1] - 1
  # [2 K + 1, F, O]
  levels = jnp.concatenate([-response[1, :0:-1], response[0]])
  count = jnp.abs(jnp.arange(
      -num_levels, num_levels + 1, dtype=jnp.float32))[:, None, None]
  power = jnp.mean(jnp.square(features), axis=0)[:, None]  # [F, 1]
  write_noise = jnp.exp(params.log_write_noise_penalty) * power * jnp.square(
      response[0, 1])
  cost = (jnp.exp(params.log_penalty) * jnp.square(levels)
          + write_noise[None] * count)
  rising = jax.vmap(pulse_response.is_rising)(response)
  rising = jnp.concatenate([rising[1, :0:-1], rising[0]])
  cost = jnp.where(rising, cost, jnp.inf)
  start = jax.lax.stop_gradient(nearest).astype(jnp.int32) + num_levels
  best = plasticity.coordinate_descent(
      features, error, levels, start, cost, num_sweeps=num_sweeps)
  chosen = (best - num_levels).astype(delta_w.dtype)
  return quantization.straight_through(chosen, nearest)
