"""Time to the first training step, and of a test."""

from concurrent import futures
import multiprocessing
import os
import tempfile
import time
from typing import Any

import jax
import ml_collections

from meta_analog.benchmarks import meta_step
from meta_analog.benchmarks import timing
from meta_analog.config import build
from meta_analog.evaluation import meta_testing
from meta_analog.runtime import compilation
from meta_analog.runtime import environment
from meta_analog.training import meta_training


def start(config: ml_collections.ConfigDict) -> dict[str, float]:
  """Returns the seconds to trace and compile a config's training step.

  In processes of their own, with an empty folder of compiled programs and
  again: 'cold_s' and 'warm_s'. Imports are left out.
  """
  with tempfile.TemporaryDirectory() as folder:
    cold_s, warm_s = (_in_new_process(config, folder) for _ in range(2))
  return {'cold_s': cold_s, 'warm_s': warm_s}


def test(
    config: ml_collections.ConfigDict, *, num_rounds: int
) -> dict[str, Any]:
  """Returns the seconds of the test of a training, once it is compiled.

  Args:
    config: says how many tasks and chips; its parameters are not trained.
    num_rounds: of which the fewest seconds count.

  Returns:
    'ours_s', 'compile_s', 'num_tasks' and 'num_chips'.
  """
  setup = build.build(config)
  key_init, key = jax.random.split(jax.random.key(config.seed))
  params = meta_training.make(config, setup).init(key_init).params
  with timing.no_cache():
    began = time.perf_counter()
    compiled = meta_testing.compile_test(config, setup, params, key)
    compile_s = time.perf_counter() - began
  taken = timing.interleaved({'test': lambda: meta_testing.run(
      config, setup, params, key, compiled)}, num_rounds)
  return {'ours_s': float(taken['test'].min()), 'compile_s': compile_s,
          'num_tasks': config.evaluation.num_tasks,
          'num_chips': config.evaluation.num_chips}


def _in_new_process(config, folder):
  """Returns the seconds of `_first_step` in a process of its own."""
  context = multiprocessing.get_context('spawn')
  with futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    return pool.submit(_first_step, config.to_dict(), folder).result()


def _first_step(values, folder):
  """Returns the seconds to trace and compile, with programs in a folder."""
  # This process shares an accelerator with the one that started it.
  os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
  os.environ.pop('JAX_COMPILATION_CACHE_DIR', None)
  compilation.set_up(folder, print)
  environment.use_all_cores()
  config = ml_collections.ConfigDict(values)
  jax.block_until_ready(jax.jit(lambda: 0)())
  began = time.perf_counter()
  trainer, *arguments = meta_step.second(config)
  update = trainer.update
  update.func.lower(*arguments, **update.keywords).compile()
  return time.perf_counter() - began
