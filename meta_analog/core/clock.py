"""Exact dates on a chip's clock: whole seconds and a fraction, two words.

A float32 number of seconds has a spacing of 2 s after a year and of 32 s after
ten, so that a write then takes no time. Here a date keeps its microseconds for
68 years either side of 0, and what devices need, the float32 seconds between
two dates, is computed from the difference.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LIMIT_S = 2.0 ** 31  # of dates either side of 0: 68 years


class Time(NamedTuple):
  """A date, or an array of dates of one shape."""

  whole_s: jax.Array | np.ndarray  # int32, s
  part_s: jax.Array | np.ndarray  # float32, s, in [0, 1)


Seconds = float | np.ndarray | jax.Array

START = Time(np.int32(0), np.float32(0.0))


def exact(seconds: Seconds | Time) -> Time:
  """Returns the date so many seconds after 0.

      whole = floor(seconds),   part = seconds - whole

  Args:
    seconds: any shape; numbers of Python and NumPy are split in float64, arrays
      of JAX, which may be traced, as precisely as float32 has them. A `Time` is
      returned as it is.

  Returns:
    A `Time`, of NumPy arrays where seconds are no array of JAX.

  Raises:
    ValueError: if a number that is not traced lies beyond `LIMIT_S`.
  """
  if isinstance(seconds, Time):
    return seconds
  if isinstance(seconds, jax.Array):
    if jnp.issubdtype(seconds.dtype, jnp.integer):
      return Time(seconds.astype(jnp.int32),
                  jnp.zeros(seconds.shape, jnp.float32))
    seconds = seconds.astype(jnp.float32)
    whole = jnp.floor(seconds)
    return _carried(whole.astype(jnp.int32), seconds - whole)
  seconds = np.asarray(seconds, np.float64)
  if not np.all(np.abs(seconds) < LIMIT_S):
    raise ValueError(f'time = {seconds} s: must be less than {LIMIT_S:.0f} s '
                     '(68 years) from 0')
  whole = np.floor(seconds)
  return _carried(whole.astype(np.int32), (seconds - whole).astype(np.float32))


def later(time: Seconds | Time, seconds: Seconds | Time) -> Time:
  """Returns the date `seconds` after `time`, see `exact`; shapes broadcast."""
  time, step = exact(time), exact(seconds)
  return _carried(time.whole_s + step.whole_s, time.part_s + step.part_s)


def elapsed_s(time: Seconds | Time, since: Seconds | Time) -> jax.Array:
  """Returns the float32 seconds from `since` to `time`; shapes broadcast."""
  time, since = exact(time), exact(since)
  whole_s = (time.whole_s - since.whole_s).astype(np.float32)
  return whole_s + (time.part_s - since.part_s)


def _carried(whole_s, part_s):
  """Returns the date of a fraction that may have reached 1 or more."""
  carry = (jnp if isinstance(part_s, jax.Array) else np).floor(part_s)
  return Time(whole_s + carry.astype(np.int32), part_s - carry)
