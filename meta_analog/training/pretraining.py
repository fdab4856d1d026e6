"""Pretraining of the hidden layers in float, on tasks of more classes.

Without noise, drift or converters, one step of the delta rule from an output
layer of zeros tells the classes of a task apart, and the hidden layers are
trained for that. Every sample is a little distorted, or the drawings of the
training classes are learned by heart. Meta-training through the hardware begins
from there.
Source: tasks of more classes than those of the test, Snell et al., 2017
(arXiv:1703.05175).

Axes: N sample, I input, F feature (with bias), W class of a task.
"""

from collections.abc import Callable
import contextlib
import math
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from meta_analog.config import build
from meta_analog.config import build_task
from meta_analog.core import errors
from meta_analog.core import linalg
from meta_analog.core import sharding
from meta_analog.learning import losses
from meta_analog.learning import plasticity
from meta_analog.learning import transforms
from meta_analog.networks import network as network_lib
from meta_analog.runtime import compilation
from meta_analog.runtime import signals
from meta_analog.tasks import augmentation
from meta_analog.training import params_file
from meta_analog.training import pretraining_checkpoints

STREAM = 5  # of the run's keys, after the five of `run_keys.RunKeys`
PARTS = 20  # after each of them it logs and saves
FIRST = 20  # steps after which it logs how long it will take


class State(NamedTuple):
  """State of pretraining."""

  params: transforms.Params
  log_rate: jax.Array  # scalar, of the step of the delta rule
  opt_state: optax.OptState


class Pretrainer(NamedTuple):
  """Pretraining as functions.

  Attributes:
    init: `params -> State`.
    update: `(State, key) -> (State, {'loss', 'accuracy', 'rate_Hz',
      'finite'})`, compiled; the last of loss and gradient.
  """

  init: Callable[[transforms.Params], State]
  update: Callable[[State, jax.Array], tuple[State, dict[str, Any]]]


def make(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> Pretrainer:
  """Returns the pretraining of a config whose task has classes.

  Args:
    config: checked.
    setup: what it names.

  Returns:
    A `Pretrainer`.
  """
  c = config.training
  optimizer = _optimizer(c)
  gradient_fn = _gradient_fn(config, setup)

  def update(state, key, data):
    variables = state.params, state.log_rate
    total = sharding.sum_chips(
        gradient_fn, c.pretrain_tasks, 1, (variables, data), key,
        jnp.float32(0.0))
    gradient, info = jax.tree.map(lambda x: x / c.pretrain_tasks, total)
    updates, opt_state = optimizer.update(gradient, state.opt_state)
    info['finite'] = jnp.isfinite(info['loss'] + optax.tree.norm(gradient))
    return State(*optax.apply_updates(variables, updates), opt_state), info

  step = jax.jit(update, compiler_options=compilation.options(
      config.training.num_steps))
  data = sharding.replicate(build_task.make_pretraining_task(config).data)

  def init(params):
    variables = params, jnp.float32(0.0)
    return jax.device_put(
        State(*variables, optimizer.init(variables)), sharding.replicated())

  return Pretrainer(init, lambda state, key: step(state, key, data))


def _optimizer(c):
  """Returns Adam; at the full rate from the start, layers stay silent."""
  return optax.chain(
      optax.clip_by_global_norm(c.clip_norm),
      optax.adam(optax.warmup_cosine_decay_schedule(
          0.0, c.pretrain_rate, max(1, c.pretrain_steps // 20),
          c.pretrain_steps + 1, 0.01 * c.pretrain_rate)))


def _gradient_fn(config, setup):
  """Returns `((variables, data), key, _) -> (gradient, info)` of one task."""
  c, loss_fn = config.training, _loss_fn(config, setup)
  task = build_task.make_pretraining_task(config)

  def of_task(variables_and_data, key, _):
    variables, data = variables_and_data
    key_task, key_run, *keys = jax.random.split(key, 4)
    episode = task.sample(key_task, data, 'train')
    if c.pretrain_distortion:
      distort = lambda key, samples: samples._replace(x=augmentation.distort(
          key, samples.x, task.image_shape, c.pretrain_distortion))
      episode = episode._replace(
          support=distort(keys[0], episode.support),
          query=distort(keys[1], episode.query))
    return jax.grad(loss_fn, has_aux=True)(variables, key_run, episode)

  return of_task


def _loss_fn(config, setup):
  """Returns `(variables, key, episode) -> (loss, info)`."""
  c = config.training
  network = setup.network._replace(periphery=network_lib.EXACT)

  def loss_fn(variables, key, episode):
    params, log_rate = variables
    theta = setup.transforms.theta.apply(params)
    support, query, _ = episode
    number = len(support.x)
    outputs = network_lib.forward(
        key, network, _layers(theta, network),
        jnp.concatenate([support.x, query.x]))
    head = plasticity.delta_rule(
        outputs.features[:number], support.y, jnp.exp(log_rate))
    logits = linalg.matmul(outputs.features[number:], head)
    penalty = sum(
        losses.firing_rate_penalty(rate, c.rate_min_Hz, c.rate_max_Hz)
        for rate in outputs.rate_Hz)
    loss = losses.softmax_cross_entropy(logits, query.y, scale=c.logit_scale)
    return loss + c.rate_penalty * penalty, {
        'loss': loss, 'accuracy': losses.accuracy(logits, query.y),
        'rate_Hz': jnp.stack([jnp.mean(rate) for rate in outputs.rate_Hz])}

  return loss_fn


def _layers(theta, network):
  """Returns exact weights, without the noise that they have none of.

  Nothing is limited by the full weight, which is infinite in an exact
  converter's range: its gradient would be 0 times infinity.
  """
  return tuple(
      layer._replace(
          reading=layer.reading._replace(variance=None),
          weight_max=jax.lax.stop_gradient(layer.weight_max))
      for layer in network_lib.exact_readings(theta.layers, network))


def hidden_layers(
    config: ml_collections.ConfigDict, setup: build.Setup,
    params: transforms.Params,
    saved: pretraining_checkpoints.PretrainingCheckpoints,
    log: Callable[[str], None], stop: signals.StopRequest
) -> transforms.Params:
  """Returns parameters whose hidden layers are those that the config names.

  Those of training.begin_with, or those that pretraining makes, or both, the
  one after the other, or those given.

  Args:
    config: checked.
    setup: what it names.
    params: at random.
    saved: checkpoints of the pretraining.
    log: prints a line.
    stop: signals to heed.

  Raises:
    errors.InputError: if training.begin_with is a file of another net.
    errors.RunError: if it is damaged, and see `run`.
  """
  c = config.training
  if c.get('begin_with', ''):
    params = params_file.load_hidden(build_task.located(c.begin_with), params)
    log(f'Hidden layers are those of {c.begin_with}.')
  if not c.get('pretrain_steps', 0):
    return params
  key = jax.random.fold_in(jax.random.key(config.seed), STREAM)
  return run(config, setup, key, jax.device_put(params, sharding.replicated()),
             saved, log, stop)


def run(
    config: ml_collections.ConfigDict, setup: build.Setup, key: jax.Array,
    params: transforms.Params,
    saved: pretraining_checkpoints.PretrainingCheckpoints,
    log: Callable[[str], None], stop: signals.StopRequest
) -> transforms.Params:
  """Returns parameters whose hidden layers tell the training classes apart.

  Args:
    config: checked, with training.pretrain_steps above 0.
    setup: what it names.
    key: consumed.
    params: to begin from.
    saved: its checkpoints.
    log: prints a line.
    stop: signals to heed.

  Returns:
    Parameters; the output layer's are those given.

  Raises:
    errors.NonFiniteError: if a loss or a gradient is not finite.
    errors.Interrupted: by a signal, once the state is saved.
    errors.StorageError: if the disk fails.
    errors.CorruptFileError: if all checkpoints are damaged.
  """
  trainer, num_steps = make(config, setup), config.training.pretrain_steps
  start, state = saved.restore(trainer.init(params))
  log(f'Pretraining: step {start}/{num_steps}, compiling')
  with contextlib.ExitStack() as stack:
    for step in range(start + 1, num_steps + 1):
      state, info = trainer.update(state, jax.random.fold_in(key, step - 1))
      if step == start + 1:  # Until it is compiled, there is nothing to save.
        stack.enter_context(stop.deferred())
        began_s = time.monotonic()
      stopping = stop.signum is not None
      saving = step % max(1, num_steps // PARTS) == 0 or step == num_steps
      if not (stopping or saving or step == start + FIRST):
        continue
      info = sharding.to_host(info)
      if not info['finite']:
        raise errors.NonFiniteError(
            f'Pretraining: the loss or its gradient at step {step} is not '
            'finite; lower config.training.pretrain_rate')
      if stopping or saving:
        saved.save(step, state)
      if stopping:
        raise errors.Interrupted(stop.signum, stop.message())
      left_s = ((time.monotonic() - began_s) / max(1, step - start - 1)
                * (num_steps - step))
      log(f'Pretraining: step {step}/{num_steps}, loss {info["loss"]:.3f}, '
          f'accuracy {info["accuracy"]:.3f} among '
          f'{config.training.pretrain_way} classes. About '
          f'{math.ceil(left_s / 60)} min left.')
  return state.params
