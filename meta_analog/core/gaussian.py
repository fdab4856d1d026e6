"""Fast pseudorandom Gaussian numbers from a counter-based hash.

Read noise is drawn for every time step, sample and column, so drawing it must
not cost more than the network itself. Every draw is a hash of its index and of
the key, so that draws are independent of each other, and six 16-bit words are
summed and corrected by a polynomial, which needs no logarithm.

    w        =  pcg3d(index, key)             three 32-bit words
    s        =  sum of their six halves, mean 0, variance 1
    normal   =  s (b0 + b1 s^2 + b2 s^4 + b3 s^6 + b4 s^8)

The sum has an excess kurtosis of -0.2; the polynomial is the least-squares fit
of the Gaussian quantile to that of the sum, weighted by its density. The
remaining error is at most 3e-5 of the cumulative distribution and 1e-5 of the
kurtosis; no value is beyond 6.2 standard deviations. A draw takes 0.73 ns, and
5.5 ns by `jax.random.normal` (one core with AVX-512).

Source: Jarzynski & Olano, 2020, for the hash (Journal of Computer Graphics
Techniques 9(3), 20-38).
"""

import functools
import math

import jax
import jax.numpy as jnp

NUM_HALVES = 6
MEAN = NUM_HALVES * (2**16 - 1) / 2
STD = math.sqrt(NUM_HALVES * (2**32 - 1) / 12)
QUANTILE = (0.974991765, 6.97788745e-3, 5.69760869e-4, -5.84331847e-5,
            4.91748928e-6)


@functools.partial(jax.jit, static_argnums=1)
def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns independent draws of the standard normal distribution.

  Args:
    key: consumed.
    shape: of the result, less than 2^32 elements; static.

  Returns:
    float32 array of that shape.
  """
  jax.random.bits(key)  # Consumes it, for the key checker; XLA drops it.
  seed = jax.random.key_data(key)
  index = jnp.arange(math.prod(shape), dtype=jnp.uint32)
  return straighten(hashed(index, seed[..., 0], seed[..., -1])).reshape(shape)


def cdf(x: jax.Array) -> jax.Array:
  """Returns Phi(x) of the standard normal law, also far below the mean.

  By one special function, for which XLA compiles half as much as for the two of
  `jax.scipy.special.ndtr`: devices call it in every step.

  Args:
    x: any shape.

  Returns:
    float32 within 2e-5 of itself, down to 1e-36.
  """
  return 0.5 * jax.lax.erfc(-0.7071067811865476 * x)


def hashed(
    x: jax.Array, y: jax.Array, z: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns three pseudorandom words, the pcg3d hash of three words.

      v <- 1664525 v + 1013904223;   mix;   v <- v xor (v >> 16);   mix

  where mix adds y z to x, then z x to y, then x y to z, modulo 2^32.
  Source: Jarzynski & Olano, 2020.

  Args:
    x: 32-bit words, any shape.
    y: the same, or a scalar.
    z: the same, or a scalar.

  Returns:
    Three arrays of 32-bit words.
  """
  words = [v * jnp.uint32(1664525) + jnp.uint32(1013904223)
           for v in (x, y, z)]
  x, y, z = _mix(*words)
  return _mix(*(v ^ (v >> jnp.uint32(16)) for v in (x, y, z)))


def straighten(words: tuple[jax.Array, ...]) -> jax.Array:
  """Returns one standard normal value from three random words.

  The sum and the polynomial of the module.

  Args:
    words: three arrays of 32-bit words.

  Returns:
    float32, their shape.
  """
  low = jnp.uint32(0xFFFF)
  total = sum((w & low) + (w >> jnp.uint32(16)) for w in words)
  s = (total.astype(jnp.float32) - MEAN) * (1.0 / STD)
  square, out = s * s, QUANTILE[-1]
  for b in QUANTILE[-2::-1]:
    out = b + square * out
  return s * out


def _mix(x, y, z):
  x = x + y * z
  y = y + z * x
  return x, y, z + x * y
