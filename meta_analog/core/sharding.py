"""Data-parallel maps and sums with the same bits on any number of devices.

Rounding differs where XLA fuses differently, and a rounding difference can
flip a spike. So all that XLA compiles is the same for any number of devices:
an item is computed in the body of a loop of dynamic length (a loop of length
one would be inlined and fused with its surroundings), results are gathered in
the order of the items, and they are summed one by one in that order in a second
loop. A program for a single device goes through
other passes of XLA than one for several, so on CPU there are always two.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

SHARD = 'shard'


def mesh() -> jax.sharding.Mesh:
  """Returns the mesh of all devices that jax sees, on all hosts."""
  return jax.make_mesh((jax.device_count(),), (SHARD,),
                       axis_types=(AxisType.Auto,))


def replicated() -> NamedSharding:
  """Returns the sharding of an array of which every device holds a copy."""
  return NamedSharding(mesh(), PartitionSpec())


def replicate(tree: Any) -> Any:
  """Returns a pytree of arrays copied to all devices of all processes.

  Each process has the arrays and places them on its own devices: processes need
  not call this at the same time, nor in the same order.

  Args:
    tree: arrays, the same in all processes.

  Returns:
    The arrays with the sharding `replicated`.
  """
  place = replicated()
  if jax.process_count() == 1:
    return jax.device_put(tree, place)

  def put(array):  # device_put would compare it between processes.
    array = np.asarray(array)
    return jax.make_array_from_callback(
        array.shape, place, lambda index: array[index])

  return jax.tree.map(put, tree)


def place_locally(tree: Any) -> Any:
  """Returns a pytree of arrays on the devices of this process.

  Args:
    tree: arrays; other processes do not take part.

  Returns:
    The arrays, replicated where there is one process, else on its default
    device.
  """
  if jax.process_count() == 1:
    return replicate(tree)
  return jax.tree.map(jnp.asarray, tree)


def map_over_devices(
    fn: Callable[..., Any],
    num_items: int,
    params: Any,
    key: jax.Array,
    scale: jax.Array,
) -> Any:
  """Returns fn(params, i, key, scale) for all i, computed on all devices.

  Device d computes the items from d * rows on, rows = ceil(items / devices);
  where the number of devices does not divide that of the items, the last
  devices compute fewer, or none.

  Args:
    fn: from the global index of an item to a pytree of arrays.
    num_items: number of items.
    params: replicated.
    key: replicated; fn derives an item's key from its index.
    scale: noise scale, replicated.

  Returns:
    The pytree with a leading axis [num_items] in the order of i, replicated.
  """
  devices = mesh()
  rows = -(-num_items // devices.size)
  fn = jax.jit(fn, inline=True)  # Traced once for its shapes and for its use.

  def one_shard(first, params, key_data, scale):
    key = jax.random.wrap_key_data(key_data)
    shapes = jax.eval_shape(fn, params, first[0], key, scale)

    def one_item(i, items):
      item = fn(params, first[0] + i, key, scale)
      return jax.tree.map(lambda x, new: x.at[i].set(new), items, item)

    # One row to spare: XLA would turn a write into an only row into no write.
    items = jax.lax.fori_loop(
        0, jnp.clip(num_items - first[0], 0, rows), one_item,
        jax.tree.map(lambda x: jnp.zeros((rows + 1, *x.shape), x.dtype),
                     shapes))
    items = jax.tree.map(lambda x: x[:rows], items)
    return jax.lax.all_gather(items, SHARD, tiled=True)

  whole = PartitionSpec()
  items = jax.shard_map(
      one_shard, mesh=devices,
      in_specs=(PartitionSpec(SHARD), whole, whole, whole), out_specs=whole,
      check_vma=False,
  )(rows * jnp.arange(devices.size), params, jax.random.key_data(key), scale)
  return jax.tree.map(lambda x: x[:num_items], items)


def sum_in_order(items: Any) -> Any:
  """Returns the sum over the leading axis in order, (x[0] + x[1]) + x[2] ...

  Args:
    items: pytree of arrays [num_items, ...].

  Returns:
    The pytree of arrays [...].
  """
  start = jax.tree.map(lambda x: jnp.zeros_like(x[0]), items)
  add = lambda i, total: jax.tree.map(lambda t, x: t + x[i], total, items)
  return jax.lax.fori_loop(
      0, len(jax.tree.leaves(items)[0]), add, start)


def sum_chips(
    fn: Callable[..., Any],
    num_chips: int,
    chips_per_chunk: int,
    params: Any,
    key: jax.Array,
    scale: jax.Array,
) -> Any:
  """Returns the sum over chips of fn(params, key of the chip, scale).

  Args:
    fn: returns a pytree of arrays for one chip.
    num_chips: number of chips; the last chunk is padded where it must be.
    chips_per_chunk: chips that are vectorised.
    params: replicated.
    key: chip i gets fold_in(key, i).
    scale: noise scale, replicated.

  Returns:
    The summed pytree, the same to the last bit for any number of devices.
  """
  num_chunks = -(-num_chips // chips_per_chunk)

  def one_chunk(params, chunk, key, scale):
    def one_chip(i):
      index = chunk * chips_per_chunk + i
      result = fn(params, jax.random.fold_in(key, index), scale)
      keep = lambda x: jnp.where(index < num_chips, x, 0.0)
      return jax.tree.map(keep, result)

    if chips_per_chunk == 1:
      # A batch of one is worse than none: XLA for CPU of jaxlib 0.10.2 lets the
      # second-order gradient of all layers crash in it.
      return one_chip(0)
    results = jax.vmap(one_chip)(jnp.arange(chips_per_chunk))
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), results)

  return sum_in_order(map_over_devices(
      one_chunk, num_chunks, params, key, scale))


def map_chips(
    fn: Callable[..., Any],
    num_chips: int,
    params: Any,
    key: jax.Array,
    scale: jax.Array,
) -> Any:
  """Returns fn(params, key of the chip, scale) of every chip.

  The arguments are those of `sum_chips`.

  Returns:
    The pytree with a leading axis [num_chips], replicated.
  """
  one_chip = lambda params, index, key, scale: fn(
      params, jax.random.fold_in(key, index), scale)
  return map_over_devices(one_chip, num_chips, params, key, scale)


def to_host(tree: Any) -> Any:
  """Returns a pytree of NumPy arrays, with scalars as Python numbers.

  Args:
    tree: arrays on any devices of this process.
  """
  arrays = jax.tree.map(np.asarray, jax.device_get(tree))
  return jax.tree.map(lambda x: x.item() if x.ndim == 0 else x, arrays)
