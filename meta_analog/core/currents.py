"""Input currents over time, described so that a time loop can compute them.

Axes: T time step, K weighted sum; `...` any.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Source(NamedTuple):
  """An input current over time, described and not yet computed.

  The current of step t is `current_fn(steps at t, noise at t, fixed)`, so a
  time loop can compute it on the way, without an array of it all.

  Attributes:
    current_fn: elementwise, from (steps [...], noise [...], fixed) to [...];
      closes over no array.
    steps: pytree of [T, ...], what differs between time steps; may be empty.
    noise: the same, but drawn: no gradient goes to it.
    fixed: pytree of what does not differ, broadcastable to [...].
    num_steps: T.
  """

  current_fn: Callable[[Any, Any, Any], jax.Array]
  steps: Any
  noise: Any
  fixed: Any
  num_steps: int


class Activity(NamedTuple):
  """What a layer does over time."""

  spikes: jax.Array  # [T, ...], 0 or 1, or between (see `rate_neurons`)
  sums: jax.Array  # [K, ...], weighted sums of spikes over time


def currents(source: Source) -> jax.Array:
  """Returns the current of every time step, [T, ...]."""
  if not jax.tree.leaves((source.steps, source.noise)):
    current = source.current_fn(source.steps, source.noise, source.fixed)
    return jnp.broadcast_to(current, (source.num_steps,) + current.shape)
  return jax.vmap(source.current_fn, in_axes=(0, 0, None))(
      source.steps, jax.lax.stop_gradient(source.noise), source.fixed)
