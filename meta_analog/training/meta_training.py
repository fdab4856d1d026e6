"""Meta-training step: state, noise schedule, sharding over devices.

The meta-batch is num_chips x tasks_per_chip. Chips are grouped into chunks, on
a CPU of one chip, whose tasks come one after the other (see `batching`); chunks
are spread over a mesh of all devices that jax sees. Every key comes from the
global index of its chip, and the gradients of all chunks are gathered and
summed in one order, so the result does not depend on how many devices share the
work, where their number does not set the chunks (`chips_per_chunk`).
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from meta_analog.config import build
from meta_analog.core import sharding
from meta_analog.learning import transforms
from meta_analog.runtime import compilation

MOST_CHIPS = 64  # of a chunk on an accelerator, where it is not set


class TrainState(NamedTuple):
  """All that a training step changes."""

  params: transforms.Params
  opt_state: optax.OptState
  step: jax.Array  # steps taken so far


class Trainer(NamedTuple):
  """Meta-training as functions.

  Attributes:
    init: `key -> TrainState`.
    update: `(TrainState, key) -> (TrainState, metrics)`, compiled. The key is
      that of the whole run; step s uses fold_in(key, s). 'finite' among the
      metrics is whether each of `names` is finite.
    names: of the loss, the gradient's norm and each of its leaves.
    batch: `(step, key) -> episodes`, the tasks of a step, axis 0 the chip.
    replay: `(params, TrainState, key, chip, episodes) -> loss` of one chip of
      the step after that state, on the tasks given; not compiled.
  """

  init: Callable[[jax.Array], TrainState]
  update: Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, Any]]]
  names: Callable[[transforms.Params], list[str]]
  batch: Callable[[jax.Array, jax.Array], Any]
  replay: Callable[..., jax.Array]


def noise_scale(
    step: jax.Array, num_steps: int, start: float, full: float
) -> jax.Array:
  """Returns the noise of a step: 0, then rising linearly, then 1.

  A net dropped into full noise from random weights can fall silent, so it
  first learns without, then with more and more of it.

  Args:
    step: 0 .. num_steps - 1.
    num_steps: in the whole training.
    start: fraction of the training that sees no noise.
    full: fraction from which the noise is full; equal to start: a jump.

  Returns:
    Scalar from 0 to 1.
  """
  done = jnp.float32(step) / num_steps
  return jnp.clip((done - start) / max(full - start, 1e-9), 0.0, 1.0)


def make(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> Trainer:
  """Returns the trainer.

  Args:
    config: checked.
    setup: what it names.

  Returns:
    A `Trainer`.
  """
  varied = build.vary(config)
  step = jax.jit(
      lambda state, key, varied, data: make_uncompiled(
          config, build.traced(setup, varied.device_noise, data),
          varied.learning_rate).update(state, key),
      compiler_options=compilation.options(config.training.num_steps))
  return make_uncompiled(config, setup, varied.learning_rate)._replace(
      update=functools.partial(
          step, varied=varied, data=sharding.replicate(setup.task.data)))


def make_uncompiled(
    config: ml_collections.ConfigDict, setup: build.Setup,
    learning_rate: jax.Array | float
) -> Trainer:
  """Returns the trainer, its update to be compiled as a part of something.

  Args:
    config: checked.
    setup: what it names.
    learning_rate: the highest of the training; may be traced.

  Returns:
    A `Trainer`.
  """
  c = config.training
  num_chips = c.tasks_per_step // c.tasks_per_chip
  optimizer, schedule = _optimizer(c, learning_rate)
  scale_of = lambda step: noise_scale(
      step, c.num_steps, c.noise_start, c.noise_full)

  def init(key):
    params = setup.transforms.theta.init(jax.random.split(key)[0])
    state = TrainState(params, optimizer.init(params), jnp.int32(0))
    # Where the step leaves its result, so that it compiles once.
    return jax.device_put(state, sharding.replicated())

  def chip_gradient(params_and_data, key, scale):
    params, data = params_and_data
    key_tasks, key_chip = jax.random.split(key)
    episodes = _episodes(setup, data, key_tasks, c.tasks_per_chip)
    return _gradient(setup, params, key_chip, episodes, scale)

  def update(state, key):
    scale = scale_of(state.step)
    gradient, info = sharding.sum_chips(
        chip_gradient, num_chips, chips_per_chunk(config),
        (state.params, setup.task.data),
        jax.random.fold_in(key, state.step), scale)
    gradient, info = jax.tree.map(lambda x: x / num_chips, (gradient, info))
    updates, opt_state = optimizer.update(
        gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    info |= {'gradient_norm': optax.global_norm(gradient),
             'noise_scale': scale,
             'learning_rate': jnp.float32(schedule(state.step))}
    info['finite'] = _finite(info['loss'], info['gradient_norm'], gradient)
    return TrainState(params, opt_state, state.step + 1), info

  batch, replay = _step_parts(setup, c, num_chips, scale_of)
  return Trainer(init, update, _names, batch, replay)


def chips_per_chunk(config: ml_collections.ConfigDict) -> int:
  """Returns how many chips are one vectorised axis.

  Args:
    config: checked.

  Returns:
    What the config says, or where it says 0 what suits the machine: on a CPU
    one, elsewhere an even share of those of a step, for every device and up to
    MOST_CHIPS (3.4 ms a step on an H100 instead of 5.4 by 16), so that numbers
    are rounded otherwise for another number of devices.
  """
  c = config.training
  if c.chips_per_chunk or jax.default_backend() == 'cpu':
    return c.chips_per_chunk or 1
  num_chips, devices = c.tasks_per_step // c.tasks_per_chip, jax.device_count()
  num_rounds = -(-num_chips // (devices * MOST_CHIPS))
  return -(-num_chips // (devices * num_rounds))


def _optimizer(c, learning_rate):
  """Returns the optimizer and its learning rate over steps.

  The schedule is optax.warmup_cosine_decay_schedule down to a hundredth, which
  takes no traced rate.
  """
  warmup = int(c.warmup_fraction * c.num_steps)
  rise = optax.linear_schedule(
      0.0 if warmup else learning_rate, learning_rate, warmup)
  fall = optax.cosine_decay_schedule(
      learning_rate, max(c.num_steps, warmup + 1) - warmup, 0.01)
  schedule = optax.join_schedules([rise, fall], [warmup])
  return optax.chain(
      optax.clip_by_global_norm(c.clip_norm), optax.adam(schedule)), schedule


def _gradient(setup, params, key_chip, episodes, scale):
  """Returns the gradient on one chip, and its metrics."""
  loss_fn = lambda params: setup.transforms.loss.apply(
      params, key_chip, episodes, scale)
  (loss, info), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
  return gradient, {'loss': loss, **info}


def _step_parts(setup, c, num_chips, scale_of):
  """Returns `batch` and `replay` of `Trainer`, the parts of a step."""
  @jax.jit
  def batch(step, key):
    key = jax.random.fold_in(key, step)
    return jax.lax.map(
        lambda chip: _episodes(
            setup, jax.tree.map(jnp.asarray, setup.task.data),
            jax.random.split(jax.random.fold_in(key, chip))[0],
            c.tasks_per_chip), jnp.arange(num_chips))

  def replay(params, state, key, chip, episodes):
    key = jax.random.fold_in(jax.random.fold_in(key, state.step), chip)
    loss, _ = setup.transforms.loss.apply(
        params, jax.random.split(key)[1], episodes, scale_of(state.step))
    return loss

  return batch, replay


def _finite(loss, norm, gradient):
  """Returns whether the loss, the norm and each leaf are finite, [2 + leaf]."""
  return jnp.stack([jnp.all(jnp.isfinite(x)) for x in (
      loss, norm, *jax.tree.leaves(gradient))])


def _names(params):
  """Returns what `_finite` speaks of."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return ['loss', 'gradient norm'] + [
      'gradient of ' + '/'.join(str(part.key) for part in path)
      for path, _ in leaves]


def _episodes(setup, data, key, num_tasks):
  return jax.vmap(setup.task.sample, in_axes=(0, None))(
      jax.random.split(key, num_tasks), data)
