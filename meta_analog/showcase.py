"""What the figures show: computed here, drawn in `figures`."""

import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np
import optax

from meta_analog import assembly
from meta_analog import figures
from meta_analog import metrics
from meta_analog import presentation
from meta_analog import settings
from meta_analog import training

NUM_CURVES = 6
ORDINARY_RATE = 1e-3  # the customary learning rate of Adam
ORDINARY_SAMPLES = 20


def draw_all(
    config: ml_collections.ConfigDict,
    setup: assembly.Setup,
    folder: pathlib.Path,
    summary: dict[str, Any],
    results: dict[str, np.ndarray],
    chip: dict[str, np.ndarray],
    key: jax.Array,
) -> dict[str, float]:
  """Draws every figure of a run.

  Args:
    config: checked.
    setup: what it names.
    folder: of the run, with metrics.jsonl.
    summary: of the run so far.
    results: of evaluation.npz.
    chip: of chip.npz.
    key: consumed.

  Returns:
    {'meta_median', 'ordinary_median', 'ratio'}: sizes of weight updates.
  """
  target = folder / 'figures'
  lines = metrics.read(folder / 'metrics.jsonl')
  floor = summary['baselines'].get('predict_mean', {}).get('mean')
  figures.training_curve(target / 'training.png', lines, floor)
  if setup.task.dense is not None:
    figures.adaptation(target / 'adaptation.png',
                       **curves(config, setup, results))
  figures.conductances(target / 'conductances.png', chip)
  figures.loss_over_time(target / 'loss_over_time.png', summary,
                         settings.last_write_s(config))
  meta, ordinary = updates(config, setup, chip, key)
  if meta.size and ordinary.size:
    figures.update_sizes(target / 'update_sizes.png', meta, ordinary)
  return update_size(meta, ordinary)


def updates(
    config: ml_collections.ConfigDict, setup: assembly.Setup,
    chip: dict[str, np.ndarray], key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
  """Returns sizes of weight updates: of an adaptation, of ordinary training.

  Args:
    config: checked.
    setup: what it names.
    chip: of chip.npz.
    key: consumed.

  Returns:
    Flat arrays without zeros.
  """
  return meta_updates(chip), ordinary_updates(config, setup, key)


def update_size(
    meta: np.ndarray, ordinary: np.ndarray
) -> dict[str, float | None]:
  """Returns {'meta_median', 'ordinary_median', 'ratio'} of `updates`."""
  if not meta.size or not ordinary.size:
    return {'meta_median': None, 'ordinary_median': None, 'ratio': None}
  return {'meta_median': float(np.median(meta)),
          'ordinary_median': float(np.median(ordinary)),
          'ratio': float(np.median(meta) / np.median(ordinary))}


def curves(
    config: ml_collections.ConfigDict, setup: assembly.Setup,
    results: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns the arguments of `figures.adaptation` for a few tested tasks.

  They are spread evenly over the chips, tested at evaluation.t_test_s.
  """
  date = setup.after_s.index(config.evaluation.t_test_s)
  num_tasks = len(results['query_x'])
  rows = np.linspace(0, num_tasks - 1, min(NUM_CURVES, num_tasks)).astype(int)
  latent = {name.removeprefix('latent_'): value[rows]
            for name, value in results.items() if name.startswith('latent_')}
  episode = setup.task.sample(jax.random.key(0))
  dense = [setup.task.dense(episode._replace(latent=type(episode.latent)(
      **{name: value[i] for name, value in latent.items()}))).query
           for i in range(len(rows))]
  order = np.argsort(results['query_x'][rows, :, 0], axis=1)
  take = lambda values: np.take_along_axis(values[..., 0], order, axis=1)
  return {'x': take(results['query_x'][rows]),
          'before': take(results['query_before'][rows]),
          'after': take(results['query_after'][rows, date]),
          'truth_x': np.stack([samples.x[:, 0] for samples in dense]),
          'truth': np.stack([samples.y[:, 0] for samples in dense]),
          'target': take(results['query_y'][rows]),
          'support_x': results['support_x'][rows, :, 0],
          'support_y': results['support_y'][rows, :, 0]}


def meta_updates(chip: dict[str, np.ndarray]) -> np.ndarray:
  """Returns the sizes of an adaptation's weight changes, output layer."""
  last = max(int(name.split('_')[1]) for name in chip)
  change_uS = (chip[f'layer_{last}_adapted_uS']
               - chip[f'layer_{last}_programmed_uS']).sum(axis=1)
  delta = chip[f'layer_{last}_gain_per_uS'] * (change_uS[0] - change_uS[1])
  return np.abs(delta[delta != 0])


def ordinary_updates(
    config: ml_collections.ConfigDict, setup: assembly.Setup, key: jax.Array
) -> np.ndarray:
  """Returns the sizes of the weight changes of ordinary training.

  The same network from its random start, on exact weights, trained on one task
  by Adam at its customary rate of 1e-3, all layers, a fresh batch of samples at
  every step.

  Args:
    config: checked.
    setup: what it names.
    key: consumed.

  Returns:
    Sizes of the output layer's changes per step, zeros left out, flat.
  """
  key_params, key_task, key_steps = jax.random.split(key, 3)
  task = setup.task.sample(key_task)
  theta = jax.jit(lambda key: setup.networks.theta.apply(
      setup.networks.theta.init(key)))(key_params)
  views = presentation.exact_views(theta, setup.network)
  network = setup.network._replace(periphery=presentation.EXACT)
  weights = [view.reading.weights for view in views]
  optimizer = optax.adam(ORDINARY_RATE)

  def loss(weights, x, y):
    changed = tuple(
        view._replace(reading=view.reading._replace(weights=w))
        for view, w in zip(views, weights))
    seen = presentation.present(jax.random.key(0), network, changed, x)
    return setup.loss_fn(seen.outputs, y)

  def step(carry, key):
    weights, state = carry
    pool = setup.task.dense(task).query if setup.task.dense else task.support
    rows = jax.random.randint(key, (ORDINARY_SAMPLES,), 0, len(pool.x))
    gradient = jax.grad(loss)(weights, pool.x[rows], pool.y[rows])
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(weights, updates), state), updates[-1]

  keys = jax.random.split(key_steps, config.evaluation.ordinary_steps)
  train = jax.jit(
      lambda w, k: jax.lax.scan(step, (w, optimizer.init(w)), k)[1],
      compiler_options=training.compiler_options())
  deltas = train(weights, keys)
  deltas = np.abs(np.asarray(deltas)).ravel()
  return deltas[deltas > 0]
