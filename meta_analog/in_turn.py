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


def of_pieces(
    fn: Callable[..., Any], key: jax.Array, fixed: Any, x: jax.Array
) -> Any:
  """Returns `fn(key, fixed, piece)` of each piece, stacked: axis 0 is C.

  Args:
    fn: what it closes over is static.
    key: piece i gets fold_in(key, i).
    fixed: pytree, the same for all; its leaves that are no arrays are static.
    x: [N, ...], whose pieces are [n, ...], in order.

  Returns:
    The pytree of fn with the leading axis [C].
  """
  on_cpu = jax.default_backend() == 'cpu'
  size = max(n for n in range(1, MOST + 1) if len(x) % n == 0)
  leaves, tree = jax.tree.flatten(fixed)
  varied = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

  def whole(key_data, arrays_and_pieces):
    key = jax.random.wrap_key_data(key_data)
    arrays, pieces = arrays_and_pieces
    given = dict(zip(varied, arrays))
    fixed = jax.tree.unflatten(
        tree, [given.get(i, leaf) for i, leaf in enumerate(leaves)])
    one = jax.checkpoint(
        lambda i, piece: fn(jax.random.fold_in(key, i), fixed, piece))
    numbers = jnp.arange(len(pieces))
    if not on_cpu:
      return jax.vmap(one)(numbers, pieces)
    return jax.lax.map(lambda both: one(*both), (numbers, pieces))

  whole = one_at_a_time(whole) if on_cpu else whole
  return whole(jax.random.key_data(key), (
      [leaves[i] for i in varied], x.reshape(-1, size, *x.shape[1:])))


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
