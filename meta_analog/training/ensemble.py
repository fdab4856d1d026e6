"""A sweep's training step: many runs, compiled once.

Parameters, optimizer state, key, noise and learning rate carry a leading axis
of members; what is swept is traced, so that another value compiles nothing. The
step of a member is `training`'s own.

`sweep.members_at_once` members are a vectorised axis (vmap) within a chunk;
such groups follow each other inside the step (lax.map). Which is faster depends
on the machine. 4 members of configs/pcm.py with 8 tasks per step, 2 CPU cores,
jax 0.10.2, side by side in one process, per step and to compile (when the tasks
of a chip still came all at once):

    all at once                    0.339 s    50 s
    one at a time                  0.234 s    21 s
    4 steps of separate runs       0.326 s    27 s, four times

for a chunk of one member fills the cache, and batched products of small
matrices are slower than single ones; a net of 8-8 neurons over 20 time steps
prefers all at once (0.061 s, 0.076 s and 0.095 s). One at a time gives the very
bits of the separate run; all at once rounds otherwise, and a rounding
difference can flip a spike. So 0, the default, is one at a time on a CPU and
all at once elsewhere.

The bits are the same because a single run traces noise and rate too
(`build.Varied`), and as XLA optimises by default: with less (runs of fewer
than 50 steps, see `compilation.options`) parameters differed by 1e-6 of
their values after 5 steps.

Axis: M member.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.config import sweep_settings
from meta_analog.core import sharding
from meta_analog.runtime import compilation
from meta_analog.training import meta_training


def make(config: ml_collections.ConfigDict) -> meta_training.Trainer:
  """Returns the trainer of all members.

  Args:
    config: checked, of a sweep.

  Returns:
    A `meta_training.Trainer`. `init` takes keys [M] and is not compiled; in
    the state, params and opt_state have an axis M, and step has none; `update`
    takes keys [M], and its metrics have an axis M. `batch` and `replay` are
    those of one member at the config's own values.
  """
  configs = [sweep_settings.config_of(config, member)
             for member in sweep_settings.members(config)]
  width = members_at_once(config)
  varied = jax.tree.map(lambda *x: np.stack(x), *map(build.vary, configs))
  setup = build.build(config)
  single = meta_training.make(config, setup)
  init_one = jax.jit(single.init)

  def init(keys):
    states = [init_one(key) for key in keys]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked._replace(step=states[0].step)

  def one(step, data, member):
    params, opt_state, key, varied = member
    trainer = meta_training.make_uncompiled(
        config, build.traced(setup, varied.device_noise, data),
        varied.learning_rate)
    state, info = trainer.update(
        meta_training.TrainState(params, opt_state, step), key)
    return state.params, state.opt_state, info

  def all_members(state, keys, varied, data):
    params, opt_state, info = grouped_map(
        lambda member: one(state.step, data, member), width,
        (state.params, state.opt_state, keys, varied))
    return meta_training.TrainState(params, opt_state, state.step + 1), info

  step = jax.jit(
      all_members, compiler_options=compilation.options(config))
  data = sharding.everywhere(setup.task.data)
  return single._replace(
      init=init, update=lambda state, keys: step(state, keys, varied, data))


def members_at_once(config: ml_collections.ConfigDict) -> int:
  """Returns how many members are one vectorised axis.

  Args:
    config: checked, of a sweep.

  Returns:
    What the config says, or where it says 0 what suits the machine.
  """
  num_members = len(sweep_settings.members(config))
  cpu = jax.default_backend() == 'cpu'
  return config.sweep.members_at_once or (1 if cpu else num_members)


def grouped_map(fn: Callable[[Any], Any], width: int, items: Any) -> Any:
  """Returns fn of every item, `width` items at a time.

  Args:
    fn: of one item.
    width: items that are vectorised together; divides their number. Of 1, fn is
      not batched at all, for XLA for CPU of jaxlib 0.10.2 crashes in a batch of
      one (see `sharding.sum_chips`).
    items: pytree of arrays [M, ...].

  Returns:
    Pytree of arrays [M, ...].
  """
  if width == 1:
    return jax.lax.map(fn, items)
  groups = jax.tree.map(
      lambda x: x.reshape((-1, width) + x.shape[1:]), items)
  results = jax.lax.map(jax.vmap(fn), groups)
  return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), results)


def member_state(state: meta_training.TrainState,
                 i: int) -> meta_training.TrainState:
  """Returns the state of member i, as its separate run would have it."""
  take = lambda tree: jax.tree.map(lambda x: x[i], tree)
  return meta_training.TrainState(
      take(state.params), take(state.opt_state), state.step)
