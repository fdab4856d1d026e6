"""Features before meta-training: the hidden layers as an ordinary classifier.

In float, without noise, drift or converters, the network tells all training
classes apart by a softmax over its time-averaged features, whose weights are
thrown away. Meta-training through the hardware begins from there.

Axes: N sample, I input, F feature (with bias), C class of the training split.
"""

from collections.abc import Callable
import math
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import faults
from meta_analog import losses
from meta_analog import networks
from meta_analog import presentation
from meta_analog import sharding
from meta_analog import training
from meta_analog import workdir as workdir_lib

STREAM = 5  # of the run's keys, after the five of `experiment`


class State(NamedTuple):
  """What a step of pretraining changes."""

  params: networks.Params
  head: jax.Array  # [F, C]
  opt_state: optax.OptState


class Pretrainer(NamedTuple):
  """Pretraining as functions.

  Attributes:
    init: `(key, params) -> State`.
    update: `(State, key) -> (State, {'loss', 'accuracy', 'rate_Hz'})`,
      compiled.
  """

  init: Callable[[jax.Array, networks.Params], State]
  update: Callable[[State, jax.Array], tuple[State, dict[str, Any]]]


def make(
    config: ml_collections.ConfigDict, setup: assembly.Setup
) -> Pretrainer:
  """Returns the pretraining of a config whose task has labelled samples.

  Args:
    config: checked.
    setup: what it names.

  Returns:
    A `Pretrainer`.
  """
  c = config.training
  task, network = setup.task, setup.network._replace(
      periphery=presentation.EXACT)
  optimizer = optax.adam(optax.cosine_decay_schedule(
      c.pretrain_rate, c.pretrain_steps, 0.01))

  def init(key, params):
    num_features = setup.networks.theta.apply(params).layers[-1].u.shape[0]
    head = 0.1 * jax.random.normal(
        key, (num_features, task.num_classes)) / jnp.sqrt(num_features)
    return State(params, head, optimizer.init((params, head)))

  def loss_fn(trained, key, data):
    params, head = trained
    key_batch, key_run = jax.random.split(key)
    batch = task.labelled(key_batch, data, c.pretrain_batch)
    theta = setup.networks.theta.apply(params)
    seen = presentation.present(
        key_run, network, _views(theta, network), batch.x)
    logits = c.logit_scale * seen.features @ head
    penalty = sum(
        losses.firing_rate_penalty(rate, c.rate_min_Hz, c.rate_max_Hz)
        for rate in seen.rate_Hz)
    loss = losses.softmax_cross_entropy(logits, batch.y)
    return loss + c.rate_penalty * penalty, {
        'loss': loss, 'accuracy': losses.accuracy(logits, batch.y),
        'rate_Hz': jnp.stack([jnp.mean(rate) for rate in seen.rate_Hz])}

  def update(state, key, data):
    trained = (state.params, state.head)
    gradient, info = jax.grad(loss_fn, has_aux=True)(trained, key, data)
    updates, opt_state = optimizer.update(gradient, state.opt_state)
    params, head = optax.apply_updates(trained, updates)
    return State(params, head, opt_state), info

  step = jax.jit(update, compiler_options=training.compiler_options(config))
  data = sharding.everywhere(task.data)
  return Pretrainer(init, lambda state, key: step(state, key, data))


def _views(theta, network):
  """Returns exact weights, without the noise that they have none of.

  Nothing is limited by the full weight, which is infinite in an exact
  converter's range: its gradient would be 0 times infinity.
  """
  return tuple(
      view._replace(
          reading=view.reading._replace(variance=None),
          weight_max=jax.lax.stop_gradient(view.weight_max))
      for view in presentation.exact_views(theta, network))


def begin(
    config: ml_collections.ConfigDict, setup: assembly.Setup,
    saved: checkpoints.Checkpoints, began: checkpoints.Restored,
    record: dict[str, Any], say: Callable[[str], None]
) -> checkpoints.Restored:
  """Returns what meta-training begins from, which is saved as step 0.

  Args:
    config: checked, with training.pretrain_steps above 0.
    setup: what it names.
    saved: checkpoints of the run, of which there are none yet.
    began: the run's random start.
    record: of the environment.
    say: told how it goes.
  """
  begin_s = time.monotonic()
  key = jax.random.fold_in(jax.random.key(config.seed), STREAM)
  params = run(config, setup, key, began.state.params, say)
  state = jax.device_put(
      began.state._replace(params=params), sharding.replicated())
  facts = {'wall_s': time.monotonic() - begin_s,
           'config': workdir_lib.as_json(config), 'environment': record}
  saved.save(0, state, b'', facts)
  return began._replace(state=state, facts=facts)


def run(
    config: ml_collections.ConfigDict, setup: assembly.Setup, key: jax.Array,
    params: networks.Params, say: Callable[[str], None]
) -> networks.Params:
  """Returns parameters whose hidden layers tell the training classes apart.

  Args:
    config: checked, with training.pretrain_steps above 0.
    setup: what it names.
    key: consumed.
    params: to begin from.
    say: told how it goes.

  Returns:
    Parameters; the output layer's are those given.

  Raises:
    faults.NumbersFault: if the loss is not finite.
  """
  trainer = make(config, setup)
  key_head, key_steps = jax.random.split(key)
  state = trainer.init(key_head, params)
  num_steps = config.training.pretrain_steps
  for step in range(num_steps):
    state, info = trainer.update(state, jax.random.fold_in(key_steps, step))
    if (step + 1) % max(1, num_steps // 10) == 0:
      info = training.host(info)
      if not math.isfinite(info['loss']):
        raise faults.NumbersFault(
            f'Pretraining: the loss at step {step + 1} is not finite; lower '
            'config.training.pretrain_rate')
      say(f'Pretraining: step {step + 1}/{num_steps}, loss '
          f'{info["loss"]:.3f}, accuracy {info["accuracy"]:.3f} among '
          f'{setup.task.num_classes} classes')
  return state.params
