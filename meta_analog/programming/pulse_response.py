"""Mean pulse responses of a crossbar and the pulses nearest to a target.

A pulse response is the mean weight change [K + 1, ...] by 0 to K pulses. The
table of responses is predicted by the controller's noise-free model.

Axes: P polarity (plus, minus), D device, I in (bias included), O out, K pulse.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection


def is_rising(response: jax.Array) -> jax.Array:
  """Returns which entries of a response can be used: up to the first flat one.

  Args:
    response: [K + 1, ...], response[0] = 0.

  Returns:
    Booleans [K + 1, ...]; the first is true.
  """
  height = response[1:] - response[:-1]
  rises = height > 1e-4 * jnp.max(jnp.abs(height), axis=0, keepdims=True)
  reached = jnp.cumprod(rises.astype(jnp.int32), axis=0) > 0
  return jnp.concatenate([jnp.ones_like(reached[:1]), reached])


def nearest_level(
    x: jax.Array, response: jax.Array, threshold: jax.Array
) -> jax.Array:
  """Returns the number of pulses whose response is nearest to x.

  The first pulse is given where x exceeds `threshold` times its response, each
  later one where x passes the middle of two entries (threshold 0.5 is rounding
  to the nearest).

  Differentiated as the piecewise linear inverse of the response with respect to
  x, and through a fast sigmoid of x / response[1] - threshold with respect to
  the threshold. The response gets no gradient.

  Args:
    x: target, positive where pulses are given, shape [...].
    response: shape [K + 1, ...], response[0] = 0. Entries from the first one
      that does not rise (a device at its bound) are not used.
    threshold: scalar or broadcastable to x.

  Returns:
    Whole numbers 0..K as floats, shape [...].
  """
  response = jax.lax.stop_gradient(response)
  usable = is_rising(response)[1:]
  low, high = response[:-1], response[1:]
  height = jnp.where(usable, high - low, 1.0)
  middles = 0.5 * (low + high)
  first = (jnp.maximum(0.0, threshold) * high[0])[None]
  edges = jnp.concatenate([first, jnp.maximum(middles[1:], first)])
  each = x[None]  # broadcasts with the axis of the response
  hard = jnp.sum((usable & (each > edges)).astype(x.dtype), axis=0)
  parts = quantization.saturate((each - low) / height, 0.0, 1.0)
  soft = jnp.sum(jnp.where(usable, parts, 0.0), axis=0)
  u = jax.lax.stop_gradient(x) / height[0] - threshold
  gate = u / (1.0 + jnp.abs(u))
  return quantization.straight_through(hard, soft + gate)


def pulses_from_table(
    x: jax.Array, response: jax.Array, threshold: jax.Array
) -> jax.Array:
  """Returns signed pulses, by response[0] where x > 0, else by response[1].

  Args:
    x: target of either sign, [...].
    response: [2, K + 1, ...], see `nearest_level`.
    threshold: see `nearest_level`.

  Returns:
    Whole numbers -K..K as floats, shape [...].
  """
  return (nearest_level(x, response[0], threshold)
          - nearest_level(-x, response[1], threshold))


def table(
    noise_free: types.Device, crossbar: array.Crossbar, num_levels: int,
    horizon_s: jax.Array
) -> jax.Array:
  """Returns the mean weight change by 0 to K pulses, for each polarity.

  The controller's noise-free model is pulsed k times now, in the order that
  `array.pulse` would, and read horizon_s later. No read of the chip enters.

  Args:
    noise_free: the technology without noise.
    crossbar: state.
    num_levels: K.
    horizon_s: from the write to the date of the predictions.

  Returns:
    [P, K + 1, I, O], magnitudes of the weight change; [:, 0] is 0.
  """
  shape = crossbar.usage.num_pulses.shape

  def after(k):
    count = jnp.broadcast_to(k, shape[2:])
    pulses = device_selection.spread(
        jnp.stack([count, count]), shape[1], crossbar.counter)
    state = noise_free.pulse(jax.random.key(0), crossbar.estimate, pulses)
    mean_uS = noise_free.read_stats(state, horizon_s)[0]
    return jnp.sum(mean_uS, axis=1)  # [P, I, O]

  levels = jnp.arange(num_levels + 1, dtype=jnp.float32)
  g_uS = jax.vmap(after, out_axes=1)(levels)
  return crossbar.gain_per_uS * (g_uS - g_uS[:, :1])


def nearest_pulses(
    noise_free: types.Device, crossbar: array.Crossbar, delta_w: jax.Array,
    horizon_s: jax.Array, num_levels: int, threshold: jax.Array | float = 0.5
) -> jax.Array:
  """Returns the signed pulses [I, O] whose mean effect is nearest to delta_w.

  From the table of mean effects, `pulse_response.table`; at most `num_levels`,
  and none below `threshold` times the effect of the first.
  """
  response = table(noise_free, crossbar, num_levels, horizon_s)
  return pulses_from_table(delta_w, response, threshold)
