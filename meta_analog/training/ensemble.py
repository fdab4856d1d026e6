"""Ensemble training: runs that differ in their seed, in one compiled step.

Parameters, optimizer state and key carry a leading axis of runs; the step of a
run is `meta_training`'s own. `width` runs are a vectorised axis (vmap) within a
chunk; such groups follow each other inside the step (lax.map).

On a CPU one run at a time is faster (0.23 s against 0.34 s for a step of four
runs of configs/pcm.py with 8 tasks, 2 cores), for a chunk of one run fills the
cache. Its parameters are those of the separate run up to rounding; in a
vectorised group rounding can flip a spike.

Axis: R run.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from meta_analog.config import build
from meta_analog.core import sharding
from meta_analog.runtime import compilation
from meta_analog.training import meta_training


def make(
    config: ml_collections.ConfigDict, num_runs: int, width: int = 0
) -> meta_training.Trainer:
  """Returns the trainer of several runs of one config.

  Args:
    config: checked; its seed is not used.
    num_runs: R.
    width: runs that are one vectorised axis; divides their number. 0: what
      suits the machine, see `default_width`.

  Returns:
    A `meta_training.Trainer`. `init` takes keys [R] and is not compiled; in the
    state, params and opt_state have an axis R, and step has none; `update`
    takes keys [R], and its metrics have an axis R. `batch` and `replay` are
    those of one run.
  """
  width = width or default_width(num_runs)
  setup = build.build(config)
  single = meta_training.make(config, setup)
  init_one = jax.jit(single.init)

  def init(keys):
    states = [init_one(key) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked._replace(step=states[0].step)

  def all_runs(state, keys, varied, data):
    trainer = meta_training.make_uncompiled(
        config, build.traced(setup, varied.device_noise, data),
        varied.learning_rate)

    def one(run):
      params, opt_state, key = run
      after, info = trainer.update(
          meta_training.TrainState(params, opt_state, state.step), key)
      return after.params, after.opt_state, info

    params, opt_state, info = grouped_map(
        one, width, (state.params, state.opt_state, keys))
    return meta_training.TrainState(params, opt_state, state.step + 1), info

  step = jax.jit(
      all_runs,
      compiler_options=compilation.options(config.training.num_steps))
  data, varied = sharding.replicate(setup.task.data), build.vary(config)
  return single._replace(
      init=init, update=lambda state, keys: step(state, keys, varied, data))


def default_width(num_runs: int) -> int:
  """Returns how many runs are one vectorised axis: 1 on a CPU, else all."""
  return 1 if jax.default_backend() == 'cpu' else num_runs


def grouped_map(fn: Callable[[Any], Any], width: int, items: Any) -> Any:
  """Returns fn of every item, `width` items at a time.

  Args:
    fn: of one item.
    width: items that are vectorised together; divides their number. Of 1, fn is
      not batched at all, for XLA for CPU of jaxlib 0.10.2 crashes in a batch of
      one (see `sharding.sum_chips`).
    items: pytree of arrays [R, ...].

  Returns:
    Pytree of arrays [R, ...].
  """
  if width == 1:
    return jax.lax.map(fn, items)
  groups = jax.tree.map(
      lambda x: x.reshape((-1, width) + x.shape[1:]), items)
  results = jax.lax.map(jax.vmap(fn), groups)
  return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), results)


def state_of(state: meta_training.TrainState,
             i: int) -> meta_training.TrainState:
  """Returns the state of run i, as its separate run would have it."""
  take = lambda tree: jax.tree.map(lambda x: x[i], tree)
  return meta_training.TrainState(
      take(state.params), take(state.opt_state), state.step)
