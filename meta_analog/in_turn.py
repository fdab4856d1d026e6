"""A few images at a time, whatever batch they come in.

The windows of one image, over all time steps, fit a core's cache, and those of
a batch do not: presented five at a time, and one task after the other under
`vmap`, images take a third of the time; the gradient, for which windows are cut
anew rather than kept, half of it (16 x 16 x 32 x 64 channels).

Axes: T time step, N sample, C piece, n sample of a piece.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

MOST = 5  # samples of a piece


def present(
    present_fn: Callable[..., Any], key: jax.Array, network: Any, views: Any,
    inputs: jax.Array
) -> Any:
  """Returns `present_fn(key, network, views, inputs)`, made piece by piece.

  Args:
    present_fn: see `presentation.present`.
    key: piece i gets fold_in(key, i).
    network: its leaves that are no arrays are static.
    views: one per layer.
    inputs: [N, I].

  Returns:
    A `presentation.Presentation`.
  """
  num_samples = inputs.shape[0]
  size = max(n for n in range(1, MOST + 1) if num_samples % n == 0)
  leaves, tree = jax.tree.flatten(network)
  varied = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

  def whole(key_data, arrays_views_pieces):
    key = jax.random.wrap_key_data(key_data)
    arrays, views, pieces = arrays_views_pieces
    given = dict(zip(varied, arrays))
    network = jax.tree.unflatten(
        tree, [given.get(i, leaf) for i, leaf in enumerate(leaves)])
    one = jax.checkpoint(lambda i_x: present_fn(
        jax.random.fold_in(key, i_x[0]), network, views, i_x[1]))
    return jax.lax.map(one, (jnp.arange(len(pieces)), pieces))

  arguments = ([leaves[i] for i in varied], views,
               inputs.reshape(-1, size, inputs.shape[1]))
  seen = one_at_a_time(whole)(
      jax.random.key_data(key), jax.tree.map(jnp.asarray, arguments))
  join = lambda x: x.reshape(num_samples, *x.shape[2:])
  currents = jnp.moveaxis(seen.currents, 1, 0)  # [T, C, n, O]
  return seen._replace(
      features=join(seen.features), outputs=join(seen.outputs),
      currents=currents.reshape(len(currents), num_samples, -1),
      rate_Hz=jax.tree.map(lambda x: jnp.mean(x, axis=0), seen.rate_Hz))


def one_at_a_time(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Returns fn, under `vmap` a loop, forwards and backwards.

  `jax.custom_batching.sequential_vmap` alone has no gradient.

  Args:
    fn: (whole numbers, pytree of real arrays) to a pytree of real arrays; what
      it closes over is static.
  """
  @jax.custom_vjp
  def call(numbers, tree):
    return jax.custom_batching.sequential_vmap(fn)(numbers, tree)

  def backward(arguments, cotangent):
    numbers, tree = arguments
    pull = lambda numbers, both: jax.vjp(
        lambda tree: fn(numbers, tree), both[0])[1](both[1])[0]
    return None, one_at_a_time(pull)(numbers, (tree, cotangent))

  call.defvjp(lambda *arguments: (call(*arguments), arguments), backward)
  return call
