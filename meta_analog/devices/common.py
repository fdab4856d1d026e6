"""Ageing and Gaussian reads, common to several device models."""

from collections.abc import Callable
from typing import Any

import jax

from meta_analog.core import dtypes
from meta_analog.core import gaussian
from meta_analog.core import types

# (state, elapsed_s) -> (mean_uS, sigma_uS)
ReadStatsFn = Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]


def device(
    program: Callable[..., Any], pulse: Callable[..., Any],
    reset: Callable[..., Any], advance: Callable[..., Any],
    read: Callable[..., Any], read_stats: Callable[..., Any]
) -> types.Device:
  """Returns a device that computes in float32, whatever it is called with.

  Args:
    program: see `types.Device`, as all others.
    pulse: as there.
    reset: as there.
    advance: as there.
    read: as there.
    read_stats: as there.
  """
  f32 = dtypes.float32
  return types.Device(
      program=lambda key, target_uS: program(key, f32(target_uS)),
      pulse=lambda key, state, num_pulses: pulse(key, state, f32(num_pulses)),
      reset=reset,
      advance=lambda state, elapsed_s: advance(state, f32(elapsed_s)),
      read=lambda key, state, elapsed_s: read(key, state, f32(elapsed_s)),
      read_stats=lambda state, elapsed_s: read_stats(state, f32(elapsed_s)))


def advance(state: Any, elapsed_s: jax.Array) -> Any:
  """Returns the state elapsed_s later: its field `age_s` grows by that."""
  return state._replace(age_s=state.age_s + elapsed_s)


def gaussian_read(
    read_stats: ReadStatsFn
) -> Callable[[jax.Array, Any, jax.Array], jax.Array]:
  """Returns a read with the moments that read_stats gives.

  Args:
    read_stats: see `types.Device`.

  Returns:
    The function `read` of a `types.Device`.
  """
  def read(key, state, elapsed_s):
    mean_uS, sigma_uS = read_stats(state, elapsed_s)
    return mean_uS + sigma_uS * gaussian.normal(key, mean_uS.shape)

  return read
