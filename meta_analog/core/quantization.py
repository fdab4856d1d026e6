"""Quantisers and thresholds with straight-through gradients.

A step function has no useful derivative, so each function here states which
surrogate it is differentiated as. All are written as
`surrogate + stop_gradient(value - surrogate)`, which means the same at first
and at second order on every jax version.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import dtypes


def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
  """Returns `value`, differentiated as `surrogate`.

  Source: Bengio, Léonard & Courville, 2013 (arXiv:1308.3432).

  Args:
    value: result of the forward pass, any shape.
    surrogate: function that the backward pass differentiates, same shape.

  Returns:
    An array equal to `value`.
  """
  value, surrogate = dtypes.float32((value, surrogate))
  zero = surrogate - jax.lax.stop_gradient(surrogate)
  return jax.lax.stop_gradient(value) + zero


@jax.jit
def saturate(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
  """Returns x limited to [low, high].

  The gradient is 1 on the closed interval and 0 outside. (That of `jnp.clip` is
  1/2 at a bound, so a device at its bound would learn at half the rate.)

  Args:
    x: any shape.
    low: lower bound, broadcastable to x.
    high: upper bound, broadcastable to x.

  Returns:
    The limited array.
  """
  x, low, high = dtypes.float32((x, low, high))
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

  Raises:
    ValueError: if bits is not a whole number from 1 to 8.
  """
  top = max_level(bits)
  soft = saturate(x, -top, top)
  if bits == 1:
    return straight_through(jnp.where(x >= 0, 1.0, -1.0), soft)
  return straight_through(jnp.round(soft), soft)


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
  x, threshold = dtypes.float32((x, threshold))
  u = jnp.abs(x) / threshold - 1.0
  sign = jax.lax.stop_gradient(jnp.where(x >= 0, 1.0, -1.0))
  soft = u / (1.0 + jnp.abs(u))
  return sign * straight_through((u > 0).astype(x.dtype), soft)
