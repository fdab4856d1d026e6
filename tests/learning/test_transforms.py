"""Haiku transform of the meta-loss: microbatches of tasks, penalties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.training import meta_training

NUM_TASKS = 4


def _config(variant='tiny', **fields):
  config = pcm.get_config(variant)
  config.network.hidden_sizes = (5,)
  config.network.num_time_steps = 12
  config.training.tasks_per_chip = config.training.tasks_per_step = NUM_TASKS
  config.training.rate_min_Hz, config.training.rate_max_Hz = 40.0, 60.0
  config.update_from_flattened_dict(
      {name.replace('__', '.'): value for name, value in fields.items()})
  return config


def _episodes(setup):
  return jax.jit(jax.vmap(setup.task.sample, in_axes=(0, None)))(
      jax.random.split(jax.random.key(2), NUM_TASKS), setup.task.data)


def _loss(one_batch, scale, variant='tiny'):
  """Returns the loss of a random net as a function of parameters, and these."""
  setup = build.build(_config(variant, training__tasks_at_once=one_batch))
  params = jax.jit(setup.transforms.theta.init)(jax.random.key(0))
  return lambda params: setup.transforms.loss.apply(
      params, jax.random.key(1), _episodes(setup), jnp.float32(scale)), params


def _outcome(*arguments):
  """Returns ((loss, metrics), gradient) of `_loss`."""
  loss, params = _loss(*arguments)
  return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


@pytest.fixture(scope='module')
def one_batch():
  return _outcome(NUM_TASKS, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize('number', [1, 2])
def test_sequential_tasks_equal_one_batch(number, one_batch):
  sequential = _outcome(number, 1.0)
  loss, params = _loss(number, 1.0)
  alone = jax.jit(lambda params: loss(params)[0])(params)
  largest = max(np.max(np.abs(x)) for x in jax.tree.leaves(one_batch[1]))
  assert largest > 1e-3
  for a, b in zip(jax.tree.leaves(sequential), jax.tree.leaves(one_batch),
                  strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * largest)
  np.testing.assert_allclose(alone, one_batch[0][0], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('variant', ['closed_loop', 'all_layers'])
def test_sequential_tasks_of_other_rules_equal_one_batch(variant):
  sequential, one_batch = (
      _outcome(number, 1.0, f'{variant},tiny') for number in (1, NUM_TASKS))
  largest = max(np.max(np.abs(x)) for x in jax.tree.leaves(one_batch[1]))
  assert largest > 1e-3
  for a, b in zip(jax.tree.leaves(sequential), jax.tree.leaves(one_batch),
                  strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * largest)


@functools.cache
def _step(chips, tasks):
  """Returns the optimizer's state and the metrics of a step in such chunks."""
  config = _config(
      training__tasks_per_step=3 * NUM_TASKS, training__noise_full=0.0,
      training__chips_per_chunk=chips, training__tasks_at_once=tasks)
  trainer = meta_training.make(config, build.build(config))
  state = jax.jit(trainer.init)(jax.random.key(0))
  state, info = trainer.update(
      state._replace(step=state.step + 1), jax.random.key(5))
  return state.opt_state, info


@pytest.mark.slow
@pytest.mark.parametrize('chips, tasks', [(1, 1), (2, 1), (2, 2)])
def test_chunks_of_chips_with_sequential_tasks_take_the_same_step(chips, tasks):
  # Of three chips, so that one of the second chunk is padding.
  for a, b in zip(jax.tree.leaves(_step(chips, tasks)),
                  jax.tree.leaves(_step(1, NUM_TASKS)), strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-3, atol=1e-4 * np.max(np.abs(b)) + 1e-9)


def test_the_rate_penalty_is_that_of_each_task():
  # Without noise a task costs the same beside any other.
  setup = build.build(_config(training__rate_penalty=100.0))
  params = jax.jit(setup.transforms.theta.init)(jax.random.key(0))
  episodes = _episodes(setup)

  @jax.jit
  def loss(picked):
    total, info = setup.transforms.loss.apply(
        params, jax.random.key(1),
        jax.tree.map(lambda x: x[jnp.asarray(picked)], episodes),
        jnp.float32(0.0))
    return total, total - info['query_loss']

  alone = [loss(np.full(NUM_TASKS, i)) for i in range(NUM_TASKS)]
  penalties = np.array([penalty for _, penalty in alone])
  assert np.min(penalties) > 0 and np.ptp(penalties) > 0.01 * np.max(penalties)
  np.testing.assert_allclose(
      loss(np.arange(NUM_TASKS)), np.mean(alone, axis=0), rtol=1e-4)


@pytest.mark.parametrize('backend, tasks, few, many', [
    ('cpu', 1, 1, 1), ('gpu', NUM_TASKS, 2, 50)])
def test_default_batch_sizes_depend_on_the_backend(
    backend, tasks, few, many, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  config = _config(training__tasks_per_step=2 * NUM_TASKS)
  assert build.tasks_at_once(config) == tasks
  assert meta_training.chips_per_chunk(config) == few
  config.training.tasks_per_step = 100 * NUM_TASKS
  assert meta_training.chips_per_chunk(config) == many  # 2 chunks of 100 chips
  monkeypatch.setattr(jax, 'device_count', lambda: 4)
  assert meta_training.chips_per_chunk(config) == min(many, 25)  # 4 chunks
  config.training.tasks_at_once, config.training.chips_per_chunk = 2, 3
  assert build.tasks_at_once(config) == 2
  assert meta_training.chips_per_chunk(config) == 3
