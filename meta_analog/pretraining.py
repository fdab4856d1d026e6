"""Features before meta-training: the hidden layers as an ordinary classifier.

In float, without noise, drift or converters, the network tells all training
classes apart by a softmax over its time-averaged features, whose weights are
thrown away. Meta-training through the hardware begins from there.

Axes: N sample, I input, F feature (with bias), C class of the training split.
"""

from collections.abc import Callable
import functools
import math
import pathlib
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
from meta_analog import hosts
from meta_analog import losses
from meta_analog import networks
from meta_analog import parameters
from meta_analog import presentation
from meta_analog import sharding
from meta_analog import training
from meta_analog import workdir as workdir_lib

STREAM = 5  # of the run's keys, after the five of `experiment`
FILE = 'pretrained.npz'  # in the folder of the run
CHUNK = 32  # most samples at once on a CPU


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

  def loss_fn(trained, key, batch):
    params, head = trained
    theta = setup.networks.theta.apply(params)
    seen = presentation.present(key, network, _views(theta, network), batch.x)
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
    num_chunks = _num_chunks(c.pretrain_batch)

    def of_chunk(key):
      key_batch, key_run = jax.random.split(key)
      batch = task.labelled(key_batch, data, c.pretrain_batch // num_chunks)
      return jax.grad(loss_fn, has_aux=True)(trained, key_run, batch)

    # One chunk after the other, so that its time steps stay in the cache.
    gradient, info = jax.tree.map(
        functools.partial(jnp.mean, axis=0),
        jax.lax.map(of_chunk, jax.random.split(key, num_chunks)))
    updates, opt_state = optimizer.update(gradient, state.opt_state)
    params, head = optax.apply_updates(trained, updates)
    return State(params, head, opt_state), info

  step = jax.jit(update, compiler_options=training.compiler_options(config))
  data = sharding.everywhere(task.data)
  return Pretrainer(init, lambda state, key: step(state, key, data))


def _num_chunks(batch):
  """Returns into how many equal parts a batch is cut; one on an accelerator."""
  if jax.default_backend() != 'cpu':
    return 1
  return next(n for n in range(-(-batch // CHUNK), batch + 1) if batch % n == 0)


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
    command: Any, setup: assembly.Setup, saved: checkpoints.Checkpoints,
    began: checkpoints.Restored
) -> checkpoints.Restored:
  """Returns what meta-training begins from: the hidden layers that it asks for.

  Those of training.begin_with, or those that pretraining makes, or both, the
  one after the other. Where pretraining took its time they are kept: as step 0
  and as FILE.

  Args:
    command: an `experiment.Run`: config, folder, record and `say`.
    setup: what the config names.
    saved: checkpoints of the run, of which there are none yet.
    began: the run's random start.

  Raises:
    settings.InputError: if training.begin_with is a file of another net.
    faults.Fault: if it is damaged, or a loss is not finite.
  """
  config, say = command.config, command.say
  c, params = config.training, began.state.params
  if c.get('begin_with', ''):
    params = parameters.load_hidden(pathlib.Path(c.begin_with), params)
    say(f'Hidden layers are those of {c.begin_with}.')
  elif not c.get('pretrain_steps', 0):
    return began
  place = lambda params: began._replace(state=jax.device_put(
      began.state._replace(params=params), sharding.replicated()))
  if not c.pretrain_steps:
    return place(params)
  begin_s = time.monotonic()
  key = jax.random.fold_in(jax.random.key(config.seed), STREAM)
  began = place(run(config, setup, key, params, say))
  facts = {'wall_s': time.monotonic() - begin_s,
           'config': workdir_lib.as_json(config), 'environment': command.record}
  saved.save(0, began.state, b'', facts)
  parameters.save(command.folder / FILE, hosts.local(began.state.params))
  return began._replace(facts=facts)


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
