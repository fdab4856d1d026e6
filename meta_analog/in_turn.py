"""A few images at a time, whatever batch they come in: for a core's cache.

The windows of one image, over all time steps, fit a core's cache, and those of
a batch do not. On one core of an AMD EPYC (16-32-64 channels, T = 4, 100
images, no noise) a presentation takes 18 ms in pieces of five and 52 ms in one,
with its gradient, for which windows are cut anew rather than kept, 80 ms and
117 ms; four tasks of 25 images under `vmap`, which come one after the other, 18
ms and 47 ms. Elsewhere than on a CPU the pieces, the same, come at once.

Axes: T time step, N sample, C piece, n sample of a piece.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import custom_batching
import jax.numpy as jnp

MOST = 5  # samples of a piece: their number is what divides N


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
  on_cpu = jax.default_backend() == 'cpu'
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
    one = jax.checkpoint(lambda i, x: present_fn(
        jax.random.fold_in(key, i), network, views, x))
    numbers = jnp.arange(len(pieces))
    if not on_cpu:
      return jax.vmap(one)(numbers, pieces)
    return jax.lax.map(lambda i_x: one(*i_x), (numbers, pieces))

  arguments = ([leaves[i] for i in varied], views,
               inputs.reshape(-1, size, inputs.shape[1]))
  whole = one_at_a_time(whole) if on_cpu else whole
  seen = whole(jax.random.key_data(key), jax.tree.map(jnp.asarray, arguments))
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
    return custom_batching.sequential_vmap(fn)(numbers, tree)

  def backward(arguments, cotangent):
    numbers, tree = arguments
    pull = lambda numbers, both: jax.vjp(
        lambda tree: fn(numbers, tree), both[0])[1](both[1])[0]
    return None, one_at_a_time(pull)(numbers, (tree, cotangent))

  call.defvjp(lambda *arguments: (call(*arguments), arguments), backward)
  return call
