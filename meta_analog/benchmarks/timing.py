"""Timing of the benchmarks: interleaved calls, ratios and rates.

Machines are noisy, so what is compared takes turns within one process. A ratio
is the median over the rounds, a time the fewest seconds. The machine's own rate
is that of products of two matrices, which take turns too.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import time
from typing import Any
from typing import NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from meta_analog.core import linalg
from meta_analog.core import sharding

MATMUL_SIZE = 1024
CHAIN = 4  # products in one call, so that calling costs nothing


def seconds(fn: Callable[[], Any]) -> float:
  """Returns how long a call takes until its arrays are there."""
  began = time.perf_counter()
  jax.block_until_ready(fn())
  return time.perf_counter() - began


def interleaved(
    fns: dict[str, Callable[[], Any]], num_rounds: int
) -> dict[str, np.ndarray]:
  """Returns the seconds of each function, [num_rounds], taken in turns.

  In its turn each is called twice, of which the second is counted, for memory
  that another function gives back slows the first (0.058 s instead of 0.037 s).
  """
  taken = {name: [] for name in fns}
  for _ in range(num_rounds):
    for name, fn in fns.items():
      jax.block_until_ready(fn())
      taken[name].append(seconds(fn))
  return {name: np.array(values) for name, values in taken.items()}


def ratio(reference: np.ndarray, ours: np.ndarray) -> float:
  """Returns the median over rounds of reference over ours."""
  return float(np.median(reference / ours))


def slope(values: Sequence[float], taken_s: Sequence[float]) -> float:
  """Returns the exponent p of seconds = c values^p, by least squares."""
  return float(np.polyfit(np.log(values), np.log(taken_s), 1)[0])


def operations(
    num_tasks: int, num_samples: int, num_steps: int, sizes: Sequence[int]
) -> float:
  """Returns the floating-point operations of the products of a meta step.

      6 tasks samples T sum(in out)

  A product is a multiplication and an addition, and there are three of them:
  one forwards, and one each for the gradients of inputs and weights.

  Args:
    num_tasks: in the step.
    num_samples: of a task, support and query.
    num_steps: T.
    sizes: of the layers, from the inputs to the outputs.

  Returns:
    Operations; biases are not counted.
  """
  per_step = sum(m * n for m, n in zip(sizes[:-1], sizes[1:]))
  return 6.0 * num_tasks * num_samples * num_steps * per_step


class Products(NamedTuple):
  """Products of two matrices, by two ways to use the cores of a CPU."""

  fns: dict[str, Callable[[], Any]]  # one at a time, or one in each device
  operations: dict[str, float]  # of a call of each

  def rate(self, taken_s: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the higher rate of each round, operations a second."""
    return np.max([operations / taken_s[name]
                   for name, operations in self.operations.items()], axis=0)


def products(size: int = MATMUL_SIZE) -> Products:
  """Returns float32 products by which the rate of a machine is measured.

  They round no factor (see `linalg`), and take turns with what is given as a
  share of their rate, which differs from minute to minute.
  """
  matrix = jnp.full((size, size), 1.0 / size, jnp.float32)
  body = lambda x, y: jax.lax.fori_loop(
      0, CHAIN, lambda _, z: linalg.matmul(z, y), x)
  everywhere = jax.shard_map(
      lambda x, y: body(x, y), mesh=sharding.mesh(),
      in_specs=(PartitionSpec(sharding.SHARD), PartitionSpec()),
      out_specs=PartitionSpec(sharding.SHARD), check_vma=False)
  count = jax.device_count()
  rows = NamedSharding(sharding.mesh(), PartitionSpec(sharding.SHARD))
  # On their devices, or every call would transfer them.
  many = jax.device_put(jnp.tile(matrix, (count, 1)), rows)
  shared = jax.device_put(matrix, sharding.replicated())
  one = CHAIN * 2.0 * size ** 3
  return Products(
      {'product': functools.partial(jax.jit(body), matrix, matrix),
       'products': functools.partial(jax.jit(everywhere), many, shared)},
      {'product': one, 'products': count * one})


def peak_bytes(compiled: Any) -> int | None:
  """Returns the memory of a program in bytes, None where it is unknown."""
  memory = compiled.memory_analysis()
  if memory is None:
    return None
  return int(memory.temp_size_in_bytes + memory.argument_size_in_bytes
             + memory.output_size_in_bytes)


@contextlib.contextmanager
def no_cache() -> Iterator[None]:
  """Compiles without a cache within the block."""
  before = jax.config.jax_enable_compilation_cache
  jax.config.update('jax_enable_compilation_cache', False)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    jax.config.update('jax_enable_compilation_cache', before)
    compilation_cache.reset_cache()
