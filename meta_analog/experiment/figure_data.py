"""Data of the figures of a run, which `run_figures` draws."""

from collections.abc import Callable
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from meta_analog.config import build
from meta_analog.config import timeline
from meta_analog.core import sharding
from meta_analog.core import types
from meta_analog.evaluation import meta_test_results
from meta_analog.learning import transforms
from meta_analog.networks import network as network_lib
from meta_analog.reporting import few_shot_figures
from meta_analog.reporting import run_figures
from meta_analog.reporting import style
from meta_analog.runtime import compilation
from meta_analog.runtime import metrics

NUM_CURVES = 6  # tasks of outputs along their inputs
NUM_CHIPS_DRAWN = 20  # that each of them is adapted on
NUM_PICTURED = 3  # tasks of images
ORDINARY_RATE = 1e-3  # the customary learning rate of Adam
ORDINARY_SAMPLES = 20


def draw_all(
    config: ml_collections.ConfigDict,
    setup: build.Setup,
    folder: pathlib.Path,
    summary: dict[str, Any],
    results: meta_test_results.MetaTestResults,
    chip: dict[str, np.ndarray],
    updates: tuple[np.ndarray, np.ndarray],
    outputs_fn: Callable[[types.Episode], tuple[np.ndarray, np.ndarray]],
    log: Callable[[str], None],
) -> None:
  """Draws every figure of a run; warns of each that cannot be drawn.

  Args:
    config: checked.
    setup: what it names.
    folder: of the run, with metrics.jsonl.
    summary: of the run so far.
    results: of the test.
    chip: of chip.npz.
    updates: of `updates`.
    outputs_fn: of `make_outputs`, its first arguments bound.
    log: prints a line.
  """
  floor = summary['baselines'].get('predict_mean', {}).get('mean')
  figures = {
      'training': lambda path: run_figures.training_curve(
          path, metrics.read(folder / 'metrics.jsonl'), floor),
      'conductances': lambda path: run_figures.conductances(path, chip),
      'loss_over_time': lambda path: run_figures.loss_over_time(
          path, summary, timeline.last_write_s(config))}
  if setup.task.dense is not None:
    figures['adaptation'] = lambda path: run_figures.adaptation(
        path, **curves(config, setup, results, outputs_fn))
  elif setup.task.recall is not None and setup.task.image_shape is not None:
    figures['adaptation'] = lambda path: few_shot_figures.tasks(
        path, **pictures(config, setup, results))
  if all(sizes.size for sizes in updates):
    figures['update_sizes'] = lambda path: run_figures.update_sizes(
        path, *updates)
  for name, draw_fn in figures.items():
    style.draw(folder / 'figures' / f'{name}.png', draw_fn, log)


def updates(
    chip: dict[str, np.ndarray], key: jax.Array,
    ordinary_fn: Callable[[jax.Array], jax.Array]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns sizes of weight updates: of an adaptation, of ordinary training.

  Args:
    chip: of chip.npz.
    key: consumed.
    ordinary_fn: of `make_ordinary`.

  Returns:
    Flat arrays without zeros.
  """
  deltas = np.abs(np.asarray(ordinary_fn(key))).ravel()
  return meta_updates(chip), deltas[deltas > 0]


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
    config: ml_collections.ConfigDict, setup: build.Setup,
    results: meta_test_results.MetaTestResults,
    outputs_fn: Callable[[types.Episode], tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
  """Returns the arguments of `run_figures.adaptation` for a few tested tasks.

  Args:
    config: checked.
    setup: what it names.
    results: of the test.
    outputs_fn: episodes to outputs before and after adaptation, see
      `make_outputs`.
  """
  rows = _spread(results, NUM_CURVES)
  chosen = jax.tree.map(lambda x: x[rows], results.episodes)
  dense = jax.vmap(setup.task.dense)(chosen)
  before, after = outputs_fn(dense)
  unit = config.task.get('x_max', 1.0)  # of an input of 1, on the abscissa
  first = lambda x: np.asarray(x)[..., 0]
  return {'x': unit * first(dense.query.x), 'truth': first(dense.query.y),
          'before': np.moveaxis(first(before), 0, 1),
          'after': np.moveaxis(first(after), 0, 1),
          'support_x': unit * first(chosen.support.x),
          'support_y': first(chosen.support.y)}


def make_outputs(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> Callable[[transforms.Params, jax.Array, types.Episode],
              tuple[np.ndarray, np.ndarray]]:
  """Returns what several chips answer at evaluation.t_test_s.

  Args:
    config: checked.
    setup: what it names.

  Returns:
    A function of parameters, key and episodes [B, ...] to outputs before and
    after adaptation, [C, B, N, O], each of C fresh chips adapted to each task.
  """
  one_date = config.copy_and_resolve_references()
  with one_date.unlocked():
    one_date.evaluation.after_s = (config.evaluation.t_test_s,)

  def on_chips(params, key, device_noise, episodes):
    transform = build.assemble(
        one_date, device_noise=device_noise).transforms.evaluate

    def one_chip(key):
      out = transform.apply(
          params, key, episodes, jnp.float32(config.evaluation.noise_scale))
      return out['before'], out['after'][:, 0]

    return jax.lax.map(one_chip, jax.random.split(key, NUM_CHIPS_DRAWN))

  # It runs once, in a second: what is quick to compile is quick.
  on_chips = jax.jit(on_chips, compiler_options=compilation.options(1))
  return lambda params, key, episodes: jax.tree.map(np.asarray, on_chips(
      params, key, build.vary(config).device_noise, episodes))


def pictures(
    config: ml_collections.ConfigDict, setup: build.Setup,
    results: meta_test_results.MetaTestResults
) -> dict[str, np.ndarray]:
  """Returns the arguments of `few_shot_figures.tasks` for a few tested tasks.

  They are spread evenly over the chips, tested at evaluation.t_test_s. Of
  inputs with time steps and channels the mean is shown.
  """
  date = setup.after_s.index(config.evaluation.t_test_s)
  episodes, rows = results.episodes, _spread(results, NUM_PICTURED)
  height, width, channels = setup.task.image_shape
  whole = [setup.task.recall(jax.tree.map(lambda x, i=i: x[i], episodes.latent),
                             setup.task.data) for i in rows]
  image = lambda x: np.asarray(x).reshape(
      len(x), -1, height, width, channels).mean(axis=(1, 4))
  chosen = lambda y: np.argmax(y[rows], axis=-1)
  return {'support': np.stack([image(x.support.x) for x in whole]),
          'support_class': chosen(episodes.support.y),
          'query': np.stack([image(x.query.x) for x in whole]),
          'query_class': chosen(episodes.query.y),
          'before': chosen(results.query_before),
          'after': chosen(results.query_after[:, date])}


def _spread(results, number):
  """Returns the indices of a few tasks, spread evenly over the chips."""
  num_tasks = len(results.query_before)
  return np.linspace(0, num_tasks - 1, min(number, num_tasks)).astype(int)


def meta_updates(chip: dict[str, np.ndarray]) -> np.ndarray:
  """Returns the sizes of an adaptation's weight changes, output layer."""
  last = max(int(name.split('_')[1]) for name in chip)
  change_uS = (chip[f'layer_{last}_adapted_uS']
               - chip[f'layer_{last}_programmed_uS']).sum(axis=1)
  delta = chip[f'layer_{last}_gain_per_uS'] * (change_uS[0] - change_uS[1])
  return np.abs(delta[delta != 0])


def make_ordinary(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> Callable[[jax.Array], jax.Array]:
  """Returns ordinary training: a key to the weight changes of its steps.

  The same network from its random start, on exact weights, trained on one task
  by Adam at its customary rate of 1e-3, all layers, a fresh batch of samples at
  every step.

  Args:
    config: checked.
    setup: what it names.

  Returns:
    A compiled function of a key, to the output layer's changes per step.
  """
  network = setup.network._replace(periphery=network_lib.EXACT)
  optimizer = optax.adam(ORDINARY_RATE)

  def train(key, data):
    key_params, key_task, key_steps = jax.random.split(key, 3)
    task = setup.task.sample(key_task, data)
    pool = setup.task.dense(task).query if setup.task.dense else task.support
    transform = setup.transforms.theta
    theta = transform.apply(transform.init(key_params))
    layers = network_lib.exact_readings(theta.layers, setup.network)

    def loss(weights, x, y):
      changed = tuple(
          layer._replace(reading=layer.reading._replace(weights=w))
          for layer, w in zip(layers, weights))
      outputs = network_lib.forward(
          jax.random.key(0), network, changed, x).outputs
      return setup.loss_fn(outputs, y)

    def step(carry, key):
      weights, state = carry
      rows = jax.random.randint(
          key, (ORDINARY_SAMPLES,), 0, len(pool.x), np.int32)
      gradient = jax.grad(loss)(weights, pool.x[rows], pool.y[rows])
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(weights, updates), state), updates[-1]

    weights = [layer.reading.weights for layer in layers]
    keys = jax.random.split(key_steps, config.evaluation.ordinary_steps)
    return jax.lax.scan(step, (weights, optimizer.init(weights)), keys)[1]

  train = jax.jit(train, compiler_options=compilation.options(
      config.training.num_steps))
  data = sharding.place_locally(setup.task.data)
  return lambda key: train(key, data)
