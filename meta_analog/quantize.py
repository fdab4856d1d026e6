"""Levels, rounding and thresholds, with straight-through gradients.

A step function has no useful derivative, so each function here states which
surrogate it is differentiated as. All are written as
`surrogate + stop_gradient(value - surrogate)`, which means the same at first
and at second order on every jax version.
"""

import jax
import jax.numpy as jnp


def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
  """Returns `value`, differentiated as `surrogate`.

  Source: Bengio, Léonard & Courville, 2013 (arXiv:1308.3432).

  Args:
    value: what the forward pass computes, any shape.
    surrogate: what the backward pass differentiates, same shape.

  Returns:
    An array equal to `value`.
  """
  zero = surrogate - jax.lax.stop_gradient(surrogate)
  return jax.lax.stop_gradient(value) + zero


@jax.jit
def saturate(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """Returns x limited to [low, high].

  The gradient is 1 on the closed interval and 0 outside: a device exactly at
  its bound still learns (`jnp.clip` halves its gradient there).

  Args:
    x: any shape.
    low: lower bound, broadcastable to x.
    high: upper bound, broadcastable to x.

  Returns:
    The limited array.
  """
  inside = jnp.where((x < low) | (x > high), jax.lax.stop_gradient(x), x)
  return straight_through(jnp.clip(x, low, high), inside)


def max_level(bits: int) -> int:
  """Returns the largest level of a symmetric grid: 2^(b-1) - 1, and 1 for b=1.

  Two bits are -1, 0, +1; one bit is the sign, which has no zero.

  Args:
    bits: 1 to 8.

  Returns:
    The level K; the grid is -K..K, without 0 when bits is 1.

  Raises:
    ValueError: if bits is not a whole number from 1 to 8.
  """
  if isinstance(bits, bool) or bits != int(bits) or not 1 <= bits <= 8:
    raise ValueError(f'update_bits = {bits!r}: must be a whole number, 1 to 8')
  return max(1, 2 ** (int(bits) - 1) - 1)


def round_to_level(x: jax.Array, *, bits: int) -> jax.Array:
  """Returns the level k nearest to x on the symmetric grid of `bits` bits.

  k = clip(round(x), -K, K), or sign(x) with sign(0) = +1 for one bit.
  The gradient is 1 for |x| <= K and 0 beyond (straight-through); for one bit
  it is 1 for |x| <= 1.

  Args:
    x: in units of one level, any shape.
    bits: 1 to 8, see `max_level`.

  Returns:
    Whole numbers as floats.
  """
  top = max_level(bits)
  soft = saturate(x, -top, top)
  if bits == 1:
    return straight_through(jnp.where(x >= 0, 1.0, -1.0), soft)
  return straight_through(jnp.round(soft), soft)


def fake_quantize(x: jax.Array, step: jax.Array, *, bits: int) -> jax.Array:
  """Returns k * step, the value of the grid nearest to x.

  The gradient to x is straight-through inside the grid; the gradient to the
  step is k - x / step inside and ±K outside.
  Source: Esser et al., 2020, eq. 1-3 (arXiv:1902.08153).

  Args:
    x: any shape.
    step: positive, broadcastable to x.
    bits: 1 to 8, see `max_level`.

  Returns:
    The quantised array.
  """
  return step * round_to_level(x / step, bits=bits)


def threshold_pulse(x: jax.Array, threshold: jax.Array) -> jax.Array:
  """Returns sign(x) where |x| > threshold, else 0: one pulse or none.

      n = sign(x) H(u),  u = |x| / threshold - 1

  differentiated through the fast sigmoid, dH/du = 1 / (1 + |u|)^2. The unit of
  the surrogate is the threshold itself, so its width does not depend on the
  scale of x.
  Source: Zenke & Ganguli, 2018, for the surrogate (doi:10.1162/neco_a_01086).

  Args:
    x: any shape.
    threshold: positive, broadcastable to x.

  Returns:
    -1, 0 or +1 as floats.
  """
  u = jnp.abs(x) / threshold - 1.0
  sign = jax.lax.stop_gradient(jnp.where(x >= 0, 1.0, -1.0))
  soft = u / (1.0 + jnp.abs(u))
  return sign * straight_through((u > 0).astype(x.dtype), soft)


def rising(stairs: jax.Array) -> jax.Array:
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


def staircase_level(
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
  real = rising(stairs)[1:]
  low, high = stairs[:-1], stairs[1:]
  height = jnp.where(real, high - low, 1.0)
  middles = 0.5 * (low + high)
  first = (jnp.maximum(0.0, threshold) * high[0])[None]
  edges = jnp.concatenate([first, jnp.maximum(middles[1:], first)])
  each = x[None]  # beside the axis of the stairs
  hard = jnp.sum((real & (each > edges)).astype(x.dtype), axis=0)
  parts = saturate((each - low) / height, 0.0, 1.0)
  soft = jnp.sum(jnp.where(real, parts, 0.0), axis=0)
  u = jax.lax.stop_gradient(x) / height[0] - threshold
  gate = u / (1.0 + jnp.abs(u))
  return straight_through(hard, soft + gate)


def staircase_pulses(
    x: jax.Array, stairs: jax.Array, threshold: jax.Array
) -> jax.Array:
  """Returns signed steps: up stairs[0] where x > 0, up stairs[1] where x < 0.

  Args:
    x: [...], of either sign.
    stairs: [2, K + 1, ...], see `staircase_level`.
    threshold: see `staircase_level`.

  Returns:
    Whole numbers -K..K as floats, shape [...].
  """
  return (staircase_level(x, stairs[0], threshold)
          - staircase_level(-x, stairs[1], threshold))
