"""A few images or tasks at a time, whatever batch they come in: for the cache.

What a core's cache holds is computed sooner than what it does not. On a CPU:

    the windows of a few images, over all time steps, fit in, and those of a
      batch do not: on one core of an AMD EPYC (16-32-64 channels, T = 4, 100
      images, no noise) a presentation takes 18 ms in pieces of five and 52 ms
      in one, with its gradient, for which windows are cut anew rather than
      kept, 80 ms and 117 ms; four tasks of 25 images under `vmap`, which come
      one after the other, 18 ms and 47 ms
    the tasks of a chip come one after the other, each with its gradient, so
      that nothing of a task is kept until all have been computed: a training
      step (1-40-40-1, 100 steps, four tasks of 20 + 20 samples on a chip) with
      all four at once took 1.33 times longer on two such cores and 1.25 times
      with read noise, on one core 1.07 and 1.18 times; with two at once 1.08
      and 1.11, on one core 0.96 and 1.08 times

Elsewhere than on a CPU the pieces, the same, come at once, and so do the tasks
(`build.tasks_at_once`).

`merge_vmaps` gathers all vmaps of a function into one leading axis: for loops
that index their arrays, where `jax.vmap` alone turns a slice into a gather and
the write of a row into a scatter.

Axes: T time step, N sample, C piece, n sample or item of a piece.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import custom_batching
import jax.numpy as jnp

MOST = 5  # samples of a piece: their number is what divides N


def microbatched(
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
  arrays, leaves, join = _parted(fixed, lambda x: isinstance(x, jax.Array))

  def whole(key_data, arrays_and_pieces):
    key = jax.random.wrap_key_data(key_data)
    arrays, pieces = arrays_and_pieces
    fixed = join(arrays, leaves)
    one = jax.checkpoint(
        lambda i, piece: fn(jax.random.fold_in(key, i), fixed, piece))
    numbers = jnp.arange(len(pieces))
    if not on_cpu:
      return jax.vmap(one)(numbers, pieces)
    return jax.lax.map(lambda both: one(*both), (numbers, pieces))

  whole = sequential(whole) if on_cpu else whole
  return whole(jax.random.key_data(key), (
      arrays, x.reshape(-1, size, *x.shape[1:])))


def mean(
    fn: Callable[[Any, Any], tuple[jax.Array, Any]], shared: Any, items: Any, *,
    at_once: int
) -> tuple[jax.Array, Any]:
  """Returns the mean of `fn(shared, item)` over items, some at a time.

  The scalar alone can be differentiated, by what is shared alone, and once:
  where the items are not all at once, its gradient is taken on the way.

  Args:
    fn: to a scalar and a pytree of real arrays; of what it closes over, nothing
      is differentiated by.
    shared: pytree of arrays.
    items: pytree of arrays with a leading axis of items.
    at_once: how many items are one vectorised axis; divides their number.

  Returns:
    The mean scalar and the mean pytree.

  Raises:
    ValueError: if at_once does not divide the number of items.
  """
  items = jax.lax.stop_gradient(items)
  num_items = len(jax.tree.leaves(items)[0])
  if num_items % at_once:
    raise ValueError(f'{num_items} items cannot come {at_once} at once')
  if at_once == num_items:
    if num_items == 1:
      loss, info = fn(shared, jax.tree.map(lambda x: x[0], items))
    else:
      loss, info = jax.tree.map(
          lambda x: jnp.mean(x, axis=0),
          jax.vmap(functools.partial(fn, shared))(items))
    return loss, jax.lax.stop_gradient(info)
  items, wrap = _without_keys(items)
  pieces = items if at_once == 1 else jax.tree.map(
      lambda x: x.reshape(-1, at_once, *x.shape[1:]), items)
  varied, leaves, join = _parted(
      shared, lambda x: jnp.issubdtype(x.dtype, jnp.inexact))

  def of_piece(varied, leaves, piece):
    shared, piece = join(varied, leaves), wrap(piece)
    if at_once == 1:  # No batch of one, see `sharding.sum_chips`.
      return fn(shared, piece)
    each = jax.vmap(functools.partial(fn, shared))(piece)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), each)

  total = _sum_with_gradient(of_piece)(varied, leaves, pieces)
  return jax.tree.map(lambda x: x / num_items, total)


def _parted(tree, wanted):
  """Returns the leaves that are wanted, all leaves, and what joins both."""
  leaves, structure = jax.tree.flatten(tree)
  numbers = [i for i, leaf in enumerate(leaves) if wanted(leaf)]

  def join(picked, leaves):
    given = dict(zip(numbers, picked))
    return jax.tree.unflatten(
        structure, [given.get(i, leaf) for i, leaf in enumerate(leaves)])

  return [leaves[i] for i in numbers], leaves, join


def _without_keys(tree):
  """Returns a tree of arrays without random keys, and what makes them again.

  A scan over split keys is called a reuse by jax's checker where it is batched.
  """
  leaves, structure = jax.tree.flatten(tree)
  kinds = [
      jax.random.key_impl(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
      else None for x in leaves]

  def wrap(leaves):
    return jax.tree.unflatten(structure, [
        jax.random.wrap_key_data(x, impl=kind) if kind else x
        for x, kind in zip(leaves, kinds)])

  return [jax.random.key_data(x) if kind else x
          for x, kind in zip(leaves, kinds)], wrap


def _sum_with_gradient(fn):
  """Returns the sum of fn(varied, fixed, piece) over pieces, axis 0."""
  @jax.custom_vjp
  def total(varied, fixed, pieces):
    return _sum_in_turn(functools.partial(fn, varied, fixed), pieces)

  def forward(varied, fixed, pieces):
    both = jax.value_and_grad(fn, has_aux=True)
    return _sum_in_turn(functools.partial(both, varied, fixed), pieces)

  def backward(gradient, cotangents):
    scale, _ = cotangents
    return jax.tree.map(lambda x: scale * x, gradient), None, None

  total.defvjp(forward, backward)
  return total


def _sum_in_turn(fn, pieces):
  """Returns the sum of fn of each piece, one after the other."""
  # Traced once for its shapes and for its use: in a program that is spread over
  # devices, be there one, a bare shape of its pieces would be another type.
  fn = jax.jit(fn, inline=True)
  shapes = jax.eval_shape(
      lambda pieces: fn(jax.tree.map(lambda x: x[0], pieces)), pieces)
  start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def add(total, piece):
    return jax.tree.map(jnp.add, total, fn(piece)), None

  return jax.lax.scan(add, start, pieces)[0]


def sequential(fn: Callable[..., Any]) -> Callable[..., Any]:
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
    return None, sequential(pull)(numbers, (tree, cotangent))

  call.defvjp(lambda *arguments: (call(*arguments), arguments), backward)
  return call


def merge_vmaps(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Returns fn without its leading axis B, which all its vmaps make together.

  Args:
    fn: of pytrees of arrays that all have a leading axis B; so has its result.
  """
  def merge(args):
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), args)

  def batched(fn):
    call = custom_batching.custom_vmap(fn)

    @call.def_vmap
    def rule(axis_size, in_batched, *args):
      args = jax.tree.map(
          lambda x, has: x if has else jnp.broadcast_to(
              x[None], (axis_size,) + x.shape), args, tuple(in_batched))
      out = batched(fn)(*merge(args))
      out = jax.tree.map(
          lambda y: y.reshape((axis_size, -1) + y.shape[1:]), out)
      return out, jax.tree.map(lambda _: True, out)

    return call

  @jax.custom_jvp
  def once(*args):
    out = batched(fn)(*jax.tree.map(lambda x: x[None], args))
    return jax.tree.map(lambda y: y[0], out)

  @once.defjvp
  def once_jvp(primals, tangents):
    # A second derivative that is taken and thrown away is allowed, as by first
    # order MAML over all layers; one that is used is NaN, not silently wrong.
    out = once(*primals)
    poison = jnp.nan * sum(
        jnp.sum(x) for x in jax.tree.leaves(tangents)
        if jnp.issubdtype(x.dtype, jnp.inexact))
    return out, jax.tree.map(lambda y: jnp.zeros_like(y) + poison, out)

  return once
