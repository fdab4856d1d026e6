"""Baselines: what simpler or unlimited predictors reach on the same tasks.

Axes: B task, P penalty, N sample, O output.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.core import linalg
from meta_analog.core import sharding
from meta_analog.core import types
from meta_analog.evaluation import intervals
from meta_analog.evaluation import meta_test_results
from meta_analog.evaluation import meta_testing
from meta_analog.learning import plasticity
from meta_analog.learning import transforms
from meta_analog.networks import network as network_lib
from meta_analog.runtime import compilation

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # of the float ridge baseline


class Compiled(NamedTuple):
  """Compiled functions of `compute`, shared by all parameters and keys."""

  rows: Callable[..., dict[str, jax.Array]]  # `(episodes, data)`
  sample: Callable[..., types.Episode]  # `(keys [B], data)`
  fit: Callable[..., jax.Array]  # `(params, episodes, penalties, data)`


def make(config: ml_collections.ConfigDict, setup: build.Setup) -> Compiled:
  """Returns what `compute` calls, each compiled when it is first called.

  Args:
    config: checked.
    setup: what it names.
  """
  task = setup.task

  def sample(key, data):
    episode = task.sample(key, data, 'validation')
    return _short(task, episode)

  def rows(episodes, data):
    if task.recall is None:
      return task.baselines(episodes)
    one = lambda x: task.baselines(jax.tree.map(lambda a: a[None], x))
    return jax.tree.map(
        lambda x: x[:, 0],
        jax.lax.map(lambda episode: one(_whole(task, episode, data)), episodes))

  return Compiled(
      jax.jit(rows), jax.jit(jax.vmap(sample, in_axes=(0, None))),
      jax.jit(
          lambda params, episodes, penalties, data: float_ridge(
              build.with_data(setup, data), params, episodes, penalties),
          compiler_options=compilation.options(config.training.num_steps)))


def compute(
    config: ml_collections.ConfigDict,
    setup: build.Setup,
    params: transforms.Params,
    results: meta_test_results.MetaTestResults,
    key: jax.Array,
    compiled: Compiled | None = None,
) -> dict[str, dict[str, float]]:
  """Returns what simpler or unlimited predictors reach on the same tasks.

  'float_ridge' is the same network with exact weights and neither noise nor
  drift, whose output layer is solved by ridge regression in float; its penalty
  is chosen on tasks of a stream of its own.

  Args:
    config: checked.
    setup: what it names.
    params: trained meta-parameters.
    results: of `meta_testing.run`.
    key: of the validation stream.
    compiled: of `make`, where that was done before.

  Returns:
    {name: {'mean', 'ci95'}}, without predictors whose results are not finite.
  """
  compiled = compiled or make(config, setup)
  data = sharding.place_locally(setup.task.data)
  episodes = _short(setup.task, results.episodes)
  rows = {name: np.asarray(value)
          for name, value in compiled.rows(episodes, data).items()}
  validation = compiled.sample(
      jax.random.split(key, config.evaluation.num_tasks), data)

  def scores(episodes):
    fits = compiled.fit(
        params, episodes, np.asarray(PENALTIES, np.float32), data)
    return [meta_testing.task_scores(
        setup.task.metric, np.asarray(fits[:, i]), np.asarray(episodes.query.y))
            for i in range(len(PENALTIES))]

  order = np.mean if setup.task.metric == 'mse' else lambda x: -np.mean(x)
  best = np.argmin([order(score) for score in scores(validation)])
  rows['float_ridge'] = scores(episodes)[best]
  return {name: intervals.of_chips(value, results.chip_index)
          for name, value in rows.items() if np.all(np.isfinite(value))}


def float_ridge(
    setup: build.Setup, params: transforms.Params, episodes: Any,
    penalties: jax.Array
) -> jax.Array:
  """Returns query predictions of the network in float with a ridge head.

  Args:
    setup: what a config names.
    params: trained meta-parameters.
    episodes: arrays with a leading axis B, without inputs where their latents
      say them.
    penalties: [P], of the ridge.

  Returns:
    [B, P, N, O].
  """
  theta = setup.transforms.theta.apply(params)
  layers = network_lib.exact_readings(theta.layers, setup.network)
  network = setup.network._replace(periphery=network_lib.EXACT)
  # Without noise a key decides spikes by chance alone, where a code has them:
  # others for the queries than for what they are compared with.
  forward = lambda seed, x: network_lib.forward(
      jax.random.key(seed), network, layers, x)

  def one_task(episode):
    support, query, _ = _whole(setup.task, episode, setup.task.data)
    adapted = forward(0, support.x)
    result = forward(1, query.x)

    def predict(penalty):
      delta_w = plasticity.ridge(
          adapted.features, support.y - adapted.outputs, penalty)
      return result.outputs + linalg.matmul(result.features, delta_w)

    return jax.lax.map(predict, penalties)

  return jax.lax.map(one_task, episodes)


def _short(task, episode):
  """Returns an episode without inputs that its latent says, or without it."""
  if task.recall is None:
    return episode._replace(latent=None)
  without = lambda samples: samples._replace(x=None)
  return types.Episode(without(episode.support), without(episode.query),
                       episode.latent)


def _whole(task, episode, data):
  """Returns an episode of `_short` with its inputs."""
  if task.recall is None:
    return episode
  return task.recall(episode.latent, data)
