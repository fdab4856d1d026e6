"""Microbatches, sequential vmap and merged vmaps.

On a CPU, arrays that fit the cache are computed faster, so a large batch is cut
into microbatches that run one after the other; elsewhere than on a CPU the same
microbatches are vectorised. A forward pass of convolutions took 18 ms instead
of 52 ms, and a training step whose tasks are one vectorised batch took 1.33
times longer.

Axes: T time step, N sample, C microbatch, n sample or item of a microbatch, B
batch of all vmaps.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import custom_batching
import jax.numpy as jnp

MAX_MICROBATCH = 5  # samples


def microbatched(
    fn: Callable[..., Any], key: jax.Array, fixed: Any, x: jax.Array
) -> Any:
  """Returns `fn(key, fixed, microbatch)` of each microbatch, stacked.

  Sequential on a CPU, vectorised elsewhere, with the same keys.

  Args:
    fn: closes over static values only.
    key: microbatch i gets fold_in(key, i).
    fixed: pytree that all microbatches share; leaves that are not arrays are
      static.
    x: [N, ...], cut in order into microbatches [n, ...], where n is the largest
      divisor of N up to `MAX_MICROBATCH`.

  Returns:
    The pytree of fn with a leading axis [C].
  """
  on_cpu = jax.default_backend() == 'cpu'
  size = max(n for n in range(1, MAX_MICROBATCH + 1) if len(x) % n == 0)
  arrays, leaves, join = _partition(fixed, lambda x: isinstance(x, jax.Array))

  def run(key_data, arrays_and_microbatches):
    key = jax.random.wrap_key_data(key_data)
    arrays, microbatches = arrays_and_microbatches
    fixed = join(arrays, leaves)
    one = jax.checkpoint(
        lambda i, microbatch: fn(jax.random.fold_in(key, i), fixed, microbatch))
    index = jnp.arange(len(microbatches))
    if not on_cpu:
      return jax.vmap(one)(index, microbatches)
    return jax.lax.map(lambda pair: one(*pair), (index, microbatches))

  run = sequential(run) if on_cpu else run
  return run(jax.random.key_data(key), (
      arrays, x.reshape(-1, size, *x.shape[1:])))


def mean(
    fn: Callable[[Any, Any], tuple[jax.Array, Any]], shared: Any, items: Any, *,
    batch_size: int
) -> tuple[jax.Array, Any]:
  """Returns the mean of `fn(shared, item)` over items, in microbatches.

  Only the scalar is differentiable, and only with respect to `shared`. Where
  there are several microbatches it is so once: each computes its gradient in
  the forward pass, so that nothing of it is stored for a backward pass.

  Args:
    fn: returns a scalar and a pytree of real arrays; nothing is differentiated
      with respect to what it closes over.
    shared: pytree of arrays.
    items: pytree of arrays with a leading axis of items.
    batch_size: items of a microbatch, which are vectorised; static.

  Returns:
    The mean scalar and the mean pytree.

  Raises:
    ValueError: if batch_size does not divide the number of items.
  """
  items = jax.lax.stop_gradient(items)
  num_items = len(jax.tree.leaves(items)[0])
  if num_items % batch_size:
    raise ValueError(
        f'batch_size = {batch_size}: must divide the number of items, '
        f'{num_items}')
  if batch_size == num_items:
    if num_items == 1:
      loss, info = fn(shared, jax.tree.map(lambda x: x[0], items))
    else:
      loss, info = jax.tree.map(
          lambda x: jnp.mean(x, axis=0),
          jax.vmap(functools.partial(fn, shared))(items))
    return loss, jax.lax.stop_gradient(info)
  items, wrap = _without_keys(items)
  microbatches = items if batch_size == 1 else jax.tree.map(
      lambda x: x.reshape(-1, batch_size, *x.shape[1:]), items)
  varied, leaves, join = _partition(
      shared, lambda x: jnp.issubdtype(x.dtype, jnp.inexact))

  def microbatch_sum(varied, leaves, microbatch):
    shared, microbatch = join(varied, leaves), wrap(microbatch)
    if batch_size == 1:  # No batch of one, see `sharding.sum_chips`.
      return fn(shared, microbatch)
    each = jax.vmap(functools.partial(fn, shared))(microbatch)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), each)

  total = _sum_with_gradient(microbatch_sum)(varied, leaves, microbatches)
  return jax.tree.map(lambda x: x / num_items, total)


def _partition(tree, predicate):
  """Returns selected leaves, all leaves, and the function that joins them."""
  leaves, structure = jax.tree.flatten(tree)
  indices = [i for i, leaf in enumerate(leaves) if predicate(leaf)]

  def join(selected, leaves):
    replaced = dict(zip(indices, selected))
    return jax.tree.unflatten(
        structure, [replaced.get(i, leaf) for i, leaf in enumerate(leaves)])

  return [leaves[i] for i in indices], leaves, join


def _without_keys(tree):
  """Returns the leaves, keys as words, and the function that rebuilds the tree.

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
  """Returns (varied, fixed, microbatches) -> sum of fn over microbatches."""
  @jax.custom_vjp
  def total(varied, fixed, microbatches):
    return _sequential_sum(functools.partial(fn, varied, fixed), microbatches)

  def forward(varied, fixed, microbatches):
    both = jax.value_and_grad(fn, has_aux=True)
    return _sequential_sum(functools.partial(both, varied, fixed), microbatches)

  def backward(gradient, cotangents):
    scale, _ = cotangents
    return jax.tree.map(lambda x: scale * x, gradient), None, None

  total.defvjp(forward, backward)
  return total


def _sequential_sum(fn, microbatches):
  """Returns the sum of fn over microbatches, one after the other."""
  # Traced once for its shapes and for its use: under shard_map, even on one
  # device, a bare shape of a microbatch would be another type.
  fn = jax.jit(fn, inline=True)
  shapes = jax.eval_shape(
      lambda x: fn(jax.tree.map(lambda leaf: leaf[0], x)), microbatches)
  start = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def add(total, microbatch):
    return jax.tree.map(jnp.add, total, fn(microbatch)), None

  return jax.lax.scan(add, start, microbatches)[0]


def sequential(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Returns fn whose `vmap` is a loop, forwards and backwards.

  `jax.custom_batching.sequential_vmap` alone has no gradient.

  Args:
    fn: (whole numbers, pytree of real arrays) to a pytree of real arrays; it
      closes over static values only.

  Returns:
    A function with the arguments of fn, differentiable in reverse mode with
    respect to the pytree.
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
  """Returns a function of single items all of whose vmaps become the axis B.

  For loops that index their arrays: `jax.vmap` turns a slice into a gather and
  the write of a row into a scatter.

  Args:
    fn: of pytrees of arrays that all have a leading axis B; so has its result.

  Returns:
    A function of the same pytrees without the axis B. A derivative of it that
    is used is NaN: whoever calls it states its own derivatives.
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
