"""Tests of adaptation and meta-loss, with learners that only keep records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.learning import losses
from meta_analog.learning import maml
from meta_analog.tasks import sinusoid
from tests.helpers import small_networks as small

SCHEDULE = small.SCHEDULE


def random_bits(key):
  return jax.random.bits(key, (2,))


def recorder():
  """Returns a learner whose chip counts events and whose infos are records."""
  def init(key, theta):
    return {'made': random_bits(key), 'events': jnp.int32(0), 'theta': theta}

  def predict(key, chip, inputs, time):
    outputs = jnp.zeros_like(inputs) + chip['events']
    return outputs, {'key': random_bits(key), 'made': chip['made'],
                     'time_s': clock.elapsed_s(time, clock.START)}

  def update(key, chip, support, time):
    info = {'key': random_bits(key),
            'time_s': clock.elapsed_s(time, clock.START),
            'events': chip['events'], 'x': support.x}
    return {**chip, 'events': chip['events'] + 1}, info

  return types.Learner(init, predict, update)


sample = jax.jit(jax.vmap(sinusoid.make(support_size=5, query_size=4).sample))


def episodes(num_tasks, seed=0):
  return sample(jax.random.split(jax.random.key(seed), num_tasks))


def num_distinct(bits):
  return len(np.unique(np.asarray(bits).reshape(-1, 2), axis=0))


@pytest.mark.parametrize('num_events', [1, 2, 5])
def test_each_event_has_its_time_and_its_own_key(num_events):
  support = jax.tree.map(lambda leaf: leaf[0], episodes(1)).support
  learner = recorder()
  chip, info = jax.jit(lambda: maml.adapt(
      learner, jax.random.key(1), learner.init(jax.random.key(0), 0.0),
      support, SCHEDULE, num_events=num_events))()
  assert chip['events'] == num_events
  np.testing.assert_array_equal(info['events'], np.arange(num_events))
  np.testing.assert_allclose(
      info['time_s'], 100.0 + 10.0 * np.arange(num_events))
  assert num_distinct(info['key']) == num_events
  for x in info['x']:
    np.testing.assert_array_equal(x, support.x)


@pytest.fixture(scope='module')
def recorded():
  """Returns the infos of a meta-loss of four tasks with three events each."""
  return jax.jit(lambda batch: maml.meta_loss(
      recorder(), jax.random.key(0), 0.0, batch, SCHEDULE,
      losses.squared_error, num_events=3))(episodes(4))


def test_every_forward_pass_of_every_task_has_its_own_key(recorded):
  info = recorded[1]
  bits = np.concatenate([np.asarray(info['support']['key']).reshape(-1, 2),
                         np.asarray(info['query']['key']).reshape(-1, 2),
                         np.asarray(info['query']['made'])[:1]])
  assert num_distinct(bits) == 4 * 3 + 4 + 1


def test_tasks_of_a_meta_batch_share_one_chip(recorded):
  assert num_distinct(recorded[1]['query']['made']) == 1


def test_query_is_presented_at_its_time_after_all_events(recorded):
  task_losses, info = recorded
  np.testing.assert_array_equal(info['query']['time_s'], 151.0)
  y = np.asarray(episodes(4).query.y)  # the recorder answers 3 after 3 events
  np.testing.assert_allclose(
      task_losses, np.mean((3.0 - y) ** 2, axis=(1, 2)), rtol=1e-5)


def test_each_key_makes_another_chip():
  made_fn = jax.jit(lambda key, batch: maml.meta_loss(
      recorder(), key, 0.0, batch, SCHEDULE,
      losses.squared_error)[1]['query']['made'])
  made = [made_fn(jax.random.key(seed), episodes(2)) for seed in range(3)]
  assert num_distinct(made) == 3


def test_evaluation_tests_before_adapting_and_at_every_date():
  after_s = np.array([151.0, 251.0, 3600.0])
  result = jax.jit(lambda batch: maml.evaluate(
      recorder(), jax.random.key(0), 0.0, batch, SCHEDULE,
      clock.exact(251.0), clock.exact(after_s), num_events=2))(episodes(2))
  assert result['before'].shape == (2, 4, 1)
  assert result['after'].shape == (2, 3, 4, 1)
  assert np.all(result['before'] == 0.0) and np.all(result['after'] == 2.0)
  np.testing.assert_array_equal(result['before_info']['time_s'], 251.0)
  np.testing.assert_array_equal(
      result['after_info']['time_s'], np.tile(np.float32(after_s), (2, 1)))
  bits = np.concatenate([
      np.asarray(result[name]['key']).reshape(-1, 2)
      for name in ('before_info', 'after_info', 'support_info')])
  assert num_distinct(bits) == 2 * (1 + 3 + 2)


def one_array_learner(shape=(32, 32)):
  """Returns a learner whose predictions are the frozen read noise itself."""
  device, noise_free = small.pcm_pair()
  exact = lambda chip, elapsed_s: array.read(
      jax.random.key(0), device, chip, elapsed_s, 1.0).weights

  def init(key, theta):
    targets_uS = jnp.full((2, 1) + shape, theta)
    return array.program(key, device, noise_free, targets_uS, 1.0)

  def predict(key, chip, inputs, time):
    del inputs
    elapsed_s = clock.elapsed_s(time, clock.START)
    weights = array.read(key, device, chip, elapsed_s, 0.0).weights
    info = {'error': chip.devices.g_uS - chip.estimate.g_uS}
    return weights - exact(chip, elapsed_s), info

  def update(key, chip, support, time):
    outputs, _ = predict(key, chip, support.x, time)
    return chip, {'noise': outputs}

  return types.Learner(init, predict, update)


def of_one_array(learner):
  """Returns a function of key and episodes: noise of queries, and infos."""
  return jax.jit(lambda key, batch: maml.meta_loss(
      learner, key, 6.0, batch, SCHEDULE, lambda outputs, _: outputs,
      num_events=2))


def test_noise_of_tasks_events_and_chips_is_uncorrelated():
  learner = one_array_learner()
  noise_fn, rows = of_one_array(learner), []
  for seed in (0, 1):  # chips
    noise, info = noise_fn(jax.random.key(seed), episodes(2))
    rows += list(np.asarray(noise).reshape(2, -1))
    rows += list(np.asarray(info['support']['noise']).reshape(4, -1))
    rows += list(np.asarray(info['query']['error'][0]).reshape(2, -1))
  r = np.corrcoef(rows) - np.eye(len(rows))
  assert np.max(np.abs(r)) < 6.0 / np.sqrt(32 * 32)


def test_result_of_a_task_does_not_depend_on_the_rest_of_its_batch():
  # The first keys of a split do not depend on its length.
  learner, batch = one_array_learner(), episodes(4)
  first = jax.tree.map(lambda leaf: leaf[:2], batch)
  (whole, whole_info), (part, part_info) = (
      of_one_array(learner)(jax.random.key(0), b) for b in (batch, first))
  np.testing.assert_array_equal(whole[:2], part)
  np.testing.assert_array_equal(
      whole_info['support']['noise'][:2], part_info['support']['noise'])


@pytest.mark.slow
def test_meta_loss_is_made_of_adaptation_and_prediction():
  # On the ideal device no key matters, so the same can be done by hand.
  learner, batch = small.make(small.ideal_pair()), episodes(3)
  found, _ = jax.jit(lambda key, theta: maml.meta_loss(
      learner, key, theta, batch, SCHEDULE, losses.squared_error,
      num_events=2))(jax.random.key(0), small.theta())
  update, predict = jax.jit(learner.update), jax.jit(learner.predict)
  for i in range(3):
    chip = learner.init(jax.random.key(1), small.theta())
    one = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
    for time_s in (100.0, 110.0):
      chip, _ = update(
          jax.random.key(2), chip, one.support, jnp.float32(time_s))
    outputs, _ = predict(
        jax.random.key(3), chip, one.query.x, jnp.float32(151.0))
    np.testing.assert_allclose(
        found[i], np.mean(np.square(outputs - one.query.y)), rtol=1e-3)


def test_meta_gradient_on_devices_is_finite_and_reaches_all_parameters():
  learner = small.make(small.pcm_pair(max_pulses=3), update_bits=3)
  gradient = jax.jit(jax.grad(lambda theta: jnp.mean(maml.meta_loss(
      learner, jax.random.key(0), theta, episodes(2), SCHEDULE,
      losses.squared_error)[0])))(small.theta())
  assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
  for layer in gradient.layers:
    assert np.any(layer.u != 0) and layer.log_gain != 0
  assert gradient.rule.log_rate[-1] != 0
  assert gradient.rule.log_threshold[-1] != 0
