"""Ageing and Gaussian reads, common to several device models."""

from collections.abc import Callable
from typing import Any

import jax

from meta_analog.core import gaussian

# (state, elapsed_s) -> (mean_uS, sigma_uS)
ReadStatsFn = Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]


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
