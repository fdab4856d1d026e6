"""Tests of the sinusoid family: ranges, moments and baselines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.tasks import sinusoid

NUM_TASKS = 4096  # catches 10 % in a standard deviation


@pytest.fixture(scope='module')
def episodes():
  task = sinusoid.make()
  return jax.jit(jax.vmap(task.sample))(
      jax.random.split(jax.random.key(0), NUM_TASKS))


def test_task_states_its_widths_and_metric():
  task = sinusoid.make()
  assert (task.num_inputs, task.num_outputs, task.metric) == (1, 1, 'mse')


def test_support_and_query_sets_have_the_asked_sizes():
  episode = jax.jit(sinusoid.make(support_size=5, query_size=7).sample)(
      jax.random.key(0))
  assert episode.support.x.shape == episode.support.y.shape == (5, 1)
  assert episode.query.x.shape == episode.query.y.shape == (7, 1)


def test_targets_are_the_sine_of_the_latent(episodes):
  amplitude = np.asarray(episodes.latent.amplitude)[:, None, None]
  phase = np.asarray(episodes.latent.phase)[:, None, None]
  for samples in (episodes.support, episodes.query):
    expected = amplitude * np.sin(5.0 * np.asarray(samples.x) + phase)
    np.testing.assert_allclose(samples.y, expected, atol=1e-5)


@pytest.mark.parametrize('field, low, high', [
    ('amplitude', 0.1, 5.0), ('phase', 0.0, np.pi)])
def test_latents_are_uniform_in_their_range(episodes, field, low, high):
  draws = np.asarray(getattr(episodes.latent, field))
  width = high - low
  assert draws.min() >= low and draws.max() <= high
  error_of_mean = width / np.sqrt(12.0 * NUM_TASKS)
  assert abs(draws.mean() - 0.5 * (low + high)) < 6.0 * error_of_mean
  # The variance of (U - 1/2)^2 is 1/180.
  error_of_variance = width ** 2 / np.sqrt(180.0 * NUM_TASKS)
  assert abs(draws.var() - width ** 2 / 12.0) < 6.0 * error_of_variance


def test_inputs_are_uniform_from_minus_one_to_one(episodes):
  x = np.asarray(episodes.support.x).ravel()
  assert np.abs(x).max() <= 1.0
  assert abs(x.mean()) < 6.0 / np.sqrt(3.0 * x.size)
  assert abs(x.var() - 1.0 / 3.0) < 6.0 * 4.0 / np.sqrt(180.0 * x.size)


@pytest.mark.parametrize('first, second', [
    ('amplitude', 'phase'), ('amplitude', 'support'), ('phase', 'query'),
    ('support', 'query')])
def test_draws_of_an_episode_are_independent(episodes, first, second):
  draws = {'amplitude': episodes.latent.amplitude,
           'phase': episodes.latent.phase,
           'support': episodes.support.x[:, 0, 0],
           'query': episodes.query.x[:, 0, 0]}
  r = np.corrcoef(draws[first], draws[second])[0, 1]
  assert abs(r) < 6.0 / np.sqrt(NUM_TASKS)


def test_prior_mean_is_a_cosine_for_the_default_ranges():
  x = np.linspace(-5.0, 5.0, 11, dtype=np.float32)
  np.testing.assert_allclose(
      sinusoid.prior_mean(sinusoid.SinusoidParams(), x),
      2.55 * 2.0 / np.pi * np.cos(x), atol=1e-5)


def test_prior_mean_is_the_mean_over_the_family():
  params = sinusoid.SinusoidParams(1.0, 2.0, 1.5)
  x = np.array([-1.0, 0.3, 2.0], np.float32)
  middles = (np.arange(200) + 0.5) / 200
  amplitude, phase = np.meshgrid(1.0 + middles, 1.5 * middles)
  expected = [np.mean(amplitude * np.sin(one + phase)) for one in x]
  np.testing.assert_allclose(
      sinusoid.prior_mean(params, x), expected, atol=1e-4)


def test_baselines_have_the_expected_losses(episodes):
  # Facts 2 and 3 of the design: 3.01 for the mean, 0.123 for one linear step.
  losses = jax.jit(sinusoid.make().baselines)(episodes)
  assert losses['predict_mean'].shape == (NUM_TASKS,)
  for name, expected in (('predict_mean', 3.01), ('best_linear_step', 0.123)):
    loss = np.asarray(losses[name])
    error = loss.std() / np.sqrt(NUM_TASKS)
    assert abs(loss.mean() - expected) < 6.0 * error + 0.01, name


def test_best_linear_step_beats_hand_made_steps(episodes):
  params = sinusoid.SinusoidParams()
  best = np.mean(jax.jit(
      lambda episodes: sinusoid.best_linear_step(params, episodes))(episodes))
  features = lambda x: np.concatenate(
      [np.sin(5.0 * np.asarray(x)), np.cos(5.0 * np.asarray(x))], axis=-1)
  support, query = features(episodes.support.x), features(episodes.query.x)
  step = np.mean(support * np.asarray(episodes.support.y), axis=1)
  gram = np.mean(support[..., :, None] * support[..., None, :], axis=1)
  for start in (np.zeros(2), np.array([0.0, 1.62])):  # 0, or the prior mean
    for rate in (1.4, 1.6, 1.8, 2.0):
      weights = start + rate * (step - gram @ start)
      outputs = np.einsum('bnf,bf->bn', query, weights)
      loss = np.mean((outputs - np.asarray(episodes.query.y)[..., 0]) ** 2)
      assert loss >= best - 1e-5


@pytest.mark.parametrize('num_tasks, sizes', [
    (1, (20, 20)), (4, (1, 20)), (4, (20, 1)), (1, (1, 1))])
def test_the_best_linear_step_of_few_samples_is_finite(num_tasks, sizes):
  task = sinusoid.make(support_size=sizes[0], query_size=sizes[1])
  episodes = jax.jit(jax.vmap(task.sample))(
      jax.random.split(jax.random.key(1), num_tasks))
  losses = jax.jit(task.baselines)(episodes)
  found = np.asarray(losses['best_linear_step'])
  assert np.all(np.isfinite(found))
  # It is fitted to these very tasks, so it is not worse than no step.
  assert found.mean() <= np.mean(np.square(episodes.query.y)) + 1e-3


def test_an_episode_is_made_again_by_its_key():
  sample = jax.jit(sinusoid.make().sample)
  first, second = (sample(jax.random.key(3)) for _ in range(2))
  assert all(jnp.array_equal(a, b) for a, b in zip(
      jax.tree.leaves(first), jax.tree.leaves(second), strict=True))
