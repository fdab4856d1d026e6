"""Input currents over time, computed step by step, and what neurons return.

Axes: T time step, K weighted sum; `...` any.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Source(NamedTuple):
  """An input current over time as a function of the time step.

  The current of step t is `current_fn(steps at t, noise at t, fixed)`, so a
  time loop computes it when it is needed, without an array [T, ...].

  Attributes:
    current_fn: elementwise, from (steps [...], noise [...], fixed) to [...];
      closes over no array.
    steps: pytree of arrays [T, ...] that differ between time steps; may be
      empty.
    noise: the same for random draws: no gradient goes to them.
    fixed: pytree of arrays that are constant over time, broadcastable to [...].
    num_steps: T.
  """

  current_fn: Callable[[Any, Any, Any], jax.Array]
  steps: Any
  noise: Any
  fixed: Any
  num_steps: int


class Activity(NamedTuple):
  """Output of a layer of neurons over time."""

  spikes: jax.Array  # [T, ...], 0 or 1; of rate neurons from 0 to 1
  sums: jax.Array  # [K, ...], weighted sums of spikes over time


def currents(source: Source) -> jax.Array:
  """Returns the current of every time step as one array.

  Args:
    source: current over time.

  Returns:
    [T, ...].
  """
  if not jax.tree.leaves((source.steps, source.noise)):
    current = source.current_fn(source.steps, source.noise, source.fixed)
    return jnp.broadcast_to(current, (source.num_steps,) + current.shape)
  return jax.vmap(source.current_fn, in_axes=(0, 0, None))(
      source.steps, jax.lax.stop_gradient(source.noise), source.fixed)
