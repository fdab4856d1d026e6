"""Mean pulse responses of a crossbar, and the pulses nearest to a target.

The table of responses is the controller's: its noise-free model is pulsed, and
no read of the chip enters.

Axes: P polarity (plus, minus), D device, I in (bias included), O out, K pulse.
"""


import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection


def is_rising(stairs: jax.Array) -> jax.Array:
  """Returns which stairs can be taken: those before the first that is flat.

  Args:
    stairs: [K + 1, ...], stairs[0] = 0.

  Returns:
    Booleans [K + 1, ...]; the first is true.
  """
  height = stairs[1:] - stairs[:-1]
  rises = height > 1e-4 * jnp.max(jnp.abs(height), axis=0, keepdims=True)
  reached = jnp.cumprod(rises.astype(jnp.int32), axis=0) > 0
  return jnp.concatenate([jnp.ones_like(reached[:1]), reached])


def nearest_level(
    x: jax.Array, stairs: jax.Array, threshold: jax.Array
) -> jax.Array:
  """Returns how many steps of a rising staircase bring 0 nearest to x.

  The first step is taken when x exceeds `threshold` times its height, each
  later one when x passes the middle between two stairs (threshold 0.5 is
  rounding to the nearest).

  Differentiated as the piecewise linear inverse of the staircase with respect
  to x, and through a fast sigmoid of x / stairs[1] - threshold with respect to
  the threshold. The stairs get no gradient: they are the controller's
  table.

  Args:
    x: non-negative where a step is wanted, shape [...].
    stairs: shape [K + 1, ...], stairs[0] = 0. From the first stair on that
      does not rise (a device at its bound) none is taken.
    threshold: scalar or broadcastable to x.

  Returns:
    Whole numbers 0..K as floats, shape [...].
  """
  stairs = jax.lax.stop_gradient(stairs)
  real = is_rising(stairs)[1:]
  low, high = stairs[:-1], stairs[1:]
  height = jnp.where(real, high - low, 1.0)
  middles = 0.5 * (low + high)
  first = (jnp.maximum(0.0, threshold) * high[0])[None]
  edges = jnp.concatenate([first, jnp.maximum(middles[1:], first)])
  each = x[None]  # beside the axis of the stairs
  hard = jnp.sum((real & (each > edges)).astype(x.dtype), axis=0)
  parts = quantization.saturate((each - low) / height, 0.0, 1.0)
  soft = jnp.sum(jnp.where(real, parts, 0.0), axis=0)
  u = jax.lax.stop_gradient(x) / height[0] - threshold
  gate = u / (1.0 + jnp.abs(u))
  return quantization.straight_through(hard, soft + gate)


def pulses_from_table(
    x: jax.Array, stairs: jax.Array, threshold: jax.Array
) -> jax.Array:
  """Returns signed steps: up stairs[0] where x > 0, up stairs[1] where x < 0.

  Args:
    x: [...], of either sign.
    stairs: [2, K + 1, ...], see `pulse_response.nearest_level`.
    threshold: see `pulse_response.nearest_level`.

  Returns:
    Whole numbers -K..K as floats, shape [...].
  """
  return (nearest_level(x, stairs[0], threshold)
          - nearest_level(-x, stairs[1], threshold))


def table(
    model: types.Device, crossbar: array.Crossbar, num_levels: int,
    horizon_s: jax.Array
) -> jax.Array:
  """Returns the mean weight change that k pulses would make, for each polarity.

  The controller's table: its noise-free model is pulsed k times now, in the
  order that `pulse` would, and read horizon_s later. No read of the chip
  enters.

  Args:
    model: the technology without noise.
    crossbar: state.
    num_levels: K.
    horizon_s: from the write to the time that predictions are wanted for.

  Returns:
    [P, K + 1, I, O], magnitudes of the weight change; [:, 0] is 0.
  """
  shape = crossbar.wear.num_pulses.shape

  def after(k):
    count = jnp.broadcast_to(k, shape[2:])
    pulses = device_selection.spread(
        jnp.stack([count, count]), shape[1], crossbar.counter)
    state = model.pulse(jax.random.key(0), crossbar.model, pulses)
    mean_uS = model.read_stats(state, horizon_s)[0]
    return jnp.sum(mean_uS, axis=1)  # [P, I, O]

  levels = jnp.arange(num_levels + 1, dtype=jnp.float32)
  g_uS = jax.vmap(after, out_axes=1)(levels)
  return crossbar.gain_per_uS * (g_uS - g_uS[:, :1])


def nearest_pulses(
    model: types.Device, crossbar: array.Crossbar, delta_w: jax.Array,
    horizon_s: jax.Array, num_levels: int, threshold: jax.Array | float = 0.5
) -> jax.Array:
  """Returns the signed pulses [I, O] whose mean effect is nearest to delta_w.

  From the table of mean effects, `pulse_response.table`; at most `num_levels`,
  and none below `threshold` times the effect of the first.
  """
  stairs = table(model, crossbar, num_levels, horizon_s)
  return pulses_from_table(delta_w, stairs, threshold)
