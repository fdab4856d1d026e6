"""All vmaps of a function as one leading axis of its arguments.

For loops that index their arrays: under `jax.vmap` alone a plain slice becomes
a gather, and the write of a row a scatter.

Axis: B batch of all vmaps.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import custom_batching
import jax.numpy as jnp


def merged(fn: Callable[..., Any]) -> Callable[..., Any]:
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
