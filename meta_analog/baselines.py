"""What simpler or unlimited predictors reach on the tasks of a test.

Axes: B task, N sample, O output.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog import assembly
from meta_analog import base
from meta_analog import evaluation
from meta_analog import networks
from meta_analog import plasticity
from meta_analog import presentation
from meta_analog import training

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # of the float ridge baseline


class Compiled(NamedTuple):
  """What `compute` calls; one for all that differ in parameters and keys."""

  rows: Callable[[base.Episode], dict[str, jax.Array]]
  sample: Callable[[jax.Array], base.Episode]  # of keys [B]
  fit: Callable[..., jax.Array]  # `(params, episodes, penalty)`


def make(config: ml_collections.ConfigDict, setup: assembly.Setup) -> Compiled:
  """Returns what `compute` calls, each compiled when it is first called.

  Args:
    config: checked.
    setup: what it names.
  """
  return Compiled(
      jax.jit(setup.task.baselines), jax.jit(jax.vmap(setup.task.sample)),
      jax.jit(
          lambda params, episodes, penalty: float_ridge(
              setup, params, episodes, penalty),
          compiler_options=training.compiler_options(config)))


def compute(
    config: ml_collections.ConfigDict,
    setup: assembly.Setup,
    params: networks.Params,
    results: dict[str, np.ndarray],
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
    results: of `run`.
    key: of the validation stream.
    compiled: of `make`, where that was done before.

  Returns:
    {name: {'mean', 'ci95'}}.
  """
  compiled = compiled or make(config, setup)
  episodes = base.Episode(
      base.Samples(results['support_x'], results['support_y']),
      base.Samples(results['query_x'], results['query_y']), None)
  rows = {name: np.asarray(value)
          for name, value in compiled.rows(episodes).items()}
  validation = compiled.sample(
      jax.random.split(key, config.evaluation.num_tasks))
  score = lambda episodes, penalty: evaluation.task_scores(
      setup.task.metric, np.asarray(compiled.fit(params, episodes, penalty)),
      np.asarray(episodes.query.y))
  validation = validation._replace(latent=None)
  order = np.mean if setup.task.metric == 'mse' else lambda x: -np.mean(x)
  best = min(PENALTIES, key=lambda p: order(score(validation, p)))
  rows['float_ridge'] = score(episodes._replace(latent=None), best)
  return {name: evaluation.interval(value, results['chip_index'])
          for name, value in rows.items()}


def float_ridge(
    setup: assembly.Setup, params: networks.Params, episodes: Any,
    penalty: jax.Array
) -> jax.Array:
  """Returns query predictions of the network in float with a ridge head.

  Args:
    setup: what a config names.
    params: trained meta-parameters.
    episodes: arrays with a leading axis B.
    penalty: of the ridge.

  Returns:
    [B, N, O].
  """
  theta = setup.networks.theta.apply(params)
  views = presentation.exact_views(theta, setup.network)
  network = setup.network._replace(periphery=presentation.EXACT)
  present = lambda x: presentation.present(
      jax.random.key(0), network, views, x)

  def one_task(pair):
    support, query = pair
    seen = present(support.x)
    delta_w = plasticity.ridge(
        seen.features, support.y - seen.outputs, penalty)
    tested = present(query.x)
    return tested.outputs + tested.features @ delta_w

  return jax.lax.map(one_task, (episodes.support, episodes.query))
