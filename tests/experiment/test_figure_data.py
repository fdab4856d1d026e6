"""The figure of adaptation: dense inputs in units of the task, many chips."""

import types

import jax
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.evaluation import meta_test_results
from meta_analog.experiment import figure_data
from meta_analog.tasks import sinusoid

NUM_TASKS = 3


@pytest.fixture
def tested():
  """Returns a config, its task and tested episodes."""
  task = sinusoid.make(support_size=4, query_size=2)
  keys = jax.random.split(jax.random.key(0), NUM_TASKS)
  episodes = jax.tree.map(np.asarray, jax.jit(jax.vmap(task.sample))(keys))
  results = meta_test_results.MetaTestResults(
      episodes, query_before=np.zeros((NUM_TASKS, 2, 1)),
      **dict.fromkeys(meta_test_results.MetaTestResults._fields[2:8]))
  return pcm.get_config('tiny'), types.SimpleNamespace(task=task), results


def test_curves_run_over_dense_inputs_in_units_of_the_task(tested):
  config, setup, results = tested
  asked = []

  def outputs_fn(episodes):
    asked.append(episodes)
    y = np.asarray(episodes.query.y)
    return np.zeros((5, *y.shape)), np.broadcast_to(y, (5, *y.shape))

  found = figure_data.curves(config, setup, results, outputs_fn)
  assert found['x'].shape == (NUM_TASKS, 101)
  np.testing.assert_allclose(found['x'][0], np.linspace(-5, 5, 101), rtol=1e-5)
  latent = results.episodes.latent
  truth = latent.amplitude[:, None] * np.sin(
      found['x'] + latent.phase[:, None])
  np.testing.assert_allclose(found['truth'], truth, atol=1e-4)
  assert found['after'].shape == (NUM_TASKS, 5, 101)
  np.testing.assert_allclose(found['after'][:, 3], truth, atol=1e-4)
  np.testing.assert_allclose(
      found['support_x'], 5 * results.episodes.support.x[..., 0])
  np.testing.assert_array_equal(
      asked[0].support.y, results.episodes.support.y)


@pytest.mark.slow
def test_every_chip_answers_in_its_own_way(tested):
  config, _, results = tested
  config = config.unlock()
  config.network.hidden_sizes, config.network.num_time_steps = (4,), 8
  setup = build.build(config.lock())
  params = setup.transforms.theta.init(jax.random.key(1))
  outputs_fn = figure_data.make_outputs(config, setup)
  dense = jax.vmap(setup.task.dense)(results.episodes)
  before, after = outputs_fn(params, jax.random.key(2), dense)
  shape = (figure_data.NUM_CHIPS_DRAWN, NUM_TASKS, 101, 1)
  assert before.shape == after.shape == shape
  for outputs in (before, after):
    assert np.all(np.isfinite(outputs)) and outputs.std(axis=0).max() > 0
  again = outputs_fn(params, jax.random.key(2), dense)
  np.testing.assert_array_equal(again[1], after)
