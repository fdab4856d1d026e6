"""Meta-testing on held-out tasks and fresh chips, and its statistics.

Axes: B task, C chip, D date (time of a test), N sample, O output.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.evaluation import energy_report
from meta_analog.evaluation import intervals
from meta_analog.evaluation import meta_test_results
from meta_analog.learning import losses
from meta_analog.learning import transforms
from meta_analog.networks import network
from meta_analog.programming import protocols
from meta_analog.runtime import compilation

# metric: what a prediction over all time steps is worth.
ALL_STEPS = {'mse': losses.squared_error_all_steps,
             'accuracy': losses.accuracy_all_steps}


def compile_test(
    config: ml_collections.ConfigDict, setup: build.Setup,
    params: transforms.Params, key: jax.Array
) -> Callable[..., Any]:
  """Returns the compiled test of `run`, for it can be compiled ahead.

  Args:
    config: checked.
    setup: what it names.
    params: meta-parameters, for their shapes.
    key: for its type.

  Returns:
    A function of params, key and the device's noise (see `build.Varied`).
  """
  test = jax.jit(
      lambda params, key, device_noise, data: make_test(
          config, build.traced(setup, device_noise, data))(params, key),
      compiler_options=compilation.options(config.training.num_steps))
  data = sharding.replicate(setup.task.data)
  compiled = test.lower(
      params, key, build.vary(config).device_noise, data).compile()
  return lambda params, key, device_noise: compiled(
      params, key, device_noise, data)


def make_test(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> Callable[[transforms.Params, jax.Array], Any]:
  """Returns the test of `run`, a function of params and key to be compiled."""
  c = config.evaluation
  tasks_per_chip = c.num_tasks // c.num_chips

  def one_chip(params_and_data, key, scale):
    params, data = params_and_data
    key_tasks, key_chip = jax.random.split(key)
    episodes = jax.vmap(
        lambda key: setup.task.sample(key, data, 'test'))(
            jax.random.split(key_tasks, tasks_per_chip))
    out = setup.transforms.evaluate.apply(params, key_chip, episodes, scale)
    adapted = jax.tree.map(lambda x: x[0], out['adapted'].chip)
    theta = setup.transforms.theta.apply(params)
    targets_uS = network.targets(theta.layers, setup.network)
    return (_results(config, setup, episodes, out),
            _chip_arrays(targets_uS, out['chip'].chip, adapted))

  return lambda params, key: sharding.map_chips(
      one_chip, c.num_chips, (params, setup.task.data), key,
      jnp.float32(c.noise_scale))


def _results(config, setup, episodes, out):
  """Returns the results of one chip, B of its tasks."""
  num_tasks = len(out['before'])
  date = setup.after_s.index(config.evaluation.t_test_s)
  chip, adapted = out['chip'].chip, out['adapted'].chip
  all_steps = jax.vmap(jax.vmap(
      ALL_STEPS[setup.task.metric], in_axes=(0, None)))(
          out['after_info']['trace'], episodes.query.y)
  rates = [jnp.mean(rate[:, date], axis=-1)
           for rate in out['after_info']['rate_Hz']]
  conductances = jnp.concatenate(
      [crossbar.devices.g_uS.ravel() for crossbar in chip.crossbars])
  # Counts of all events of a task; of the chip, the same for all its tasks.
  write = out['support_info']['write']
  written = protocols.Counts(
      *(jnp.sum(write[name], axis=1) for name in ('pulses', 'resets', 'reads')),
      _num_written(
          chip, adapted, _shifted if config.adapt.write == 'exact' else _used))
  programmed = jax.tree.map(lambda x: jnp.full(num_tasks, x), chip.programmed)
  readapt = out.get('readapt_info')
  if setup.task.recall is not None:  # Inputs are in the latent already.
    episodes = episodes._replace(support=episodes.support._replace(x=None),
                                 query=episodes.query._replace(x=None))
  return meta_test_results.MetaTestResults(
      episodes=episodes, query_before=out['before'], query_after=out['after'],
      loss_all_steps=all_steps, rate_Hz=jnp.stack(rates, axis=-1),
      written=written, programmed=programmed,
      mean_uS=jnp.full(num_tasks, jnp.mean(conductances)),
      readapt_pulses=None if readapt is None else jnp.sum(
          readapt['write']['pulses'], axis=-1))


def run(
    config: ml_collections.ConfigDict,
    setup: build.Setup,
    params: transforms.Params,
    key: jax.Array,
    compiled: Callable[..., Any] | None = None,
) -> tuple[meta_test_results.MetaTestResults, dict[str, np.ndarray]]:
  """Returns what a test on held-out tasks measures, and one of the chips.

  Args:
    config: checked.
    setup: what it names.
    params: trained meta-parameters.
    key: of the test stream; chip i uses fold_in(key, i).
    compiled: of `compile_test`, where that was done ahead.

  Returns:
    The results, and the arrays of chip.npz, of the first chip. For each layer
    i: layer_i_target_uS and layer_i_programmed_uS [P, D, I, O] (conductance at
    the reference time after programming), layer_i_gain_per_uS, and after
    adaptation to the chip's first task layer_i_adapted_uS and
    layer_i_num_pulses.

  Raises:
    errors.NonFiniteError: if an output of the network is not finite.
  """
  c = config.evaluation
  test = compiled or compile_test(config, setup, params, key)
  results, chips = test(params, key, build.vary(config).device_noise)
  results = jax.tree.map(
      lambda x: np.asarray(x).reshape((-1,) + x.shape[2:]), results)
  _check_finite(results)
  results = results._replace(
      after_s=np.asarray(setup.after_s), task_index=np.arange(c.num_tasks),
      chip_index=np.repeat(
          np.arange(c.num_chips), c.num_tasks // c.num_chips))
  return results, {name: np.asarray(value)[0] for name, value in chips.items()}


def _check_finite(results):
  """Raises NonFiniteError if an output of the network is not finite."""
  for name in ('query_before', 'query_after', 'loss_all_steps'):
    good = np.isfinite(getattr(results, name))
    if not np.all(good):
      raise errors.NonFiniteError(
          f'the test gives {name} that is not finite in '
          f'{np.size(good) - np.count_nonzero(good)} of {np.size(good)} values')


def summarize(
    config: ml_collections.ConfigDict,
    setup: build.Setup,
    results: meta_test_results.MetaTestResults,
) -> dict[str, Any]:
  """Returns the part of summary.json that the test decides.

  Args:
    config: checked.
    setup: what it names.
    results: of `run`.

  Returns:
    The fields of the summary from 'metric' to 'firing_rate_hz'.
  """
  target = results.episodes.query.y
  date = setup.after_s.index(config.evaluation.t_test_s)
  mean = lambda scores: intervals.of_chips(scores, results.chip_index)
  score = lambda outputs: mean(task_scores(setup.task.metric, outputs, target))
  by_time = {f'{time_s:.12g}': score(results.query_after[:, i])
             for i, time_s in enumerate(setup.after_s)}
  layers = energy_report.layers(config, setup)
  num_devices = sum(2 * layer.num_rows * layer.num_outputs * layer.num_devices
                    for layer in layers)
  return {
      'metric': setup.task.metric,
      'num_tasks': config.evaluation.num_tasks,
      'num_chips': config.evaluation.num_chips,
      'support_size': config.task.support_size,
      'before': score(results.query_before),
      'after': by_time[f'{config.evaluation.t_test_s:.12g}'],
      'after_by_time_s': by_time,
      'after_all_steps': mean(results.loss_all_steps[:, date]),
      'changed_outputs': float(np.mean(
          results.query_after[:, date] != results.query_before)),
      'write': _write_summary(config, results, list(by_time), int(num_devices)),
      'tiles': [layer.num_tiles for layer in layers],
      'firing_rate_hz': [float(x) for x in np.mean(results.rate_Hz, axis=0)],
      **energy_report.account(config, layers, int(num_devices), results),
  }


def _write_summary(config, results, times, num_devices):
  """Returns the field 'write' of a summary: means over tasks."""
  written = results.written
  readapt = {} if results.readapt_pulses is None else {
      'readapt_pulses_per_task_by_time_s': dict(zip(
          times, np.mean(results.readapt_pulses, axis=0).tolist()))}
  return {
      'events': config.adapt.num_events,
      'pulses_per_task': float(np.mean(written.pulses)),
      'resets_per_task': float(np.mean(written.resets)),
      'reads_per_task': float(np.mean(written.reads)),
      'devices_written_per_task': float(np.mean(written.devices)),
      'devices_total': num_devices, **readapt}


def task_scores(
    metric: str, outputs: np.ndarray, targets: np.ndarray
) -> np.ndarray:
  """Returns the score of each task, [B]: mean squared error or accuracy."""
  if metric == 'mse':
    return np.mean(np.sum(np.square(outputs - targets), axis=-1), axis=-1)
  hits = np.argmax(outputs, axis=-1) == np.argmax(targets, axis=-1)
  return np.mean(hits, axis=-1)


def _num_written(chip, adapted, written_fn):
  """Returns how many devices an adaptation touched, for each task [B]."""
  total = 0.0
  for before, after in zip(chip.crossbars, adapted.crossbars):
    total += jnp.sum(written_fn(before, after), axis=(1, 2, 3, 4))
  return total.astype(jnp.float32)


def _used(before, after):
  """Returns where a device had a pulse or a RESET, [B, P, D, I, O]."""
  touched = [b[None] != a for b, a in zip(before.usage, after.usage)]
  return touched[0] | touched[1]


def _shifted(before, after):
  """Returns where an exact write changed a device, [B, P, D, I, O]."""
  return before.devices.g_uS[None] != after.devices.g_uS


def _chip_arrays(targets_uS, chip, adapted):
  """Returns one chip in the layout of chip.npz."""
  out = {}
  for i, (before, after) in enumerate(zip(chip.crossbars, adapted.crossbars)):
    out |= {
        f'layer_{i}_target_uS': targets_uS[i],
        f'layer_{i}_programmed_uS': before.devices.g_uS,
        f'layer_{i}_adapted_uS': after.devices.g_uS,
        f'layer_{i}_num_pulses': (
            after.usage.num_pulses - before.usage.num_pulses),
        f'layer_{i}_gain_per_uS': before.gain_per_uS
    }
  return out
