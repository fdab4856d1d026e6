"""Results of a run: arrays, figures and the summary, and their order."""

from collections.abc import Callable
import functools
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.evaluation import baselines as baselines_lib
from meta_analog.evaluation import meta_test_results
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import figure_data
from meta_analog.experiment import run_record
from meta_analog.learning import transforms
from meta_analog.reporting import tables
from meta_analog.runtime import atomic_files
from meta_analog.training import meta_training
from meta_analog.training import params_file

SUMMARY = 'summary.json'


class Compiled(NamedTuple):
  """Functions compiled once for all runs that share a setup."""

  baselines: baselines_lib.Compiled
  ordinary_fn: Callable[[jax.Array], jax.Array]
  outputs_fn: Callable[..., tuple[np.ndarray, np.ndarray]]


def make(config: ml_collections.ConfigDict, setup: build.Setup) -> Compiled:
  """Returns what `summarize` and `finish` call, compiled when first called.

  Args:
    config: checked.
    setup: what it names.
  """
  return Compiled(baselines_lib.make(config, setup),
                  figure_data.make_ordinary(config, setup),
                  figure_data.make_outputs(config, setup))


def summarize(
    config: ml_collections.ConfigDict, setup: build.Setup,
    state: meta_training.TrainState,
    results: meta_test_results.MetaTestResults, key: jax.Array,
    compiled: Compiled
) -> dict[str, Any]:
  """Returns the part of a summary that a training and an evaluation share.

  Args:
    config: checked.
    setup: what it names.
    state: that was tested.
    results: of `meta_testing.run`.
    key: of the validation stream.
    compiled: of `make`.

  Returns:
    The summary but for 'update_size' and 'training'.
  """
  summary = {'config': config.name, 'variant': config.variant,
             'task': config.task.name, 'device': config.device,
             'seed': config.seed}
  summary |= meta_testing.summarize(config, setup, results)
  summary['baselines'] = baselines_lib.compute(
      config, setup, state.params, results, key, compiled.baselines)
  return summary


def finish(
    config: ml_collections.ConfigDict, setup: build.Setup,
    folder: pathlib.Path, summary: dict[str, Any],
    params: transforms.Params,
    arrays: tuple[meta_test_results.MetaTestResults, dict[str, np.ndarray]],
    key: jax.Array, facts: dict[str, Any], compiled: Compiled,
    log: Callable[[str], None]
) -> None:
  """Writes the results of a run; summary.json is the last of them.

  Before it parameters.npz, evaluation.npz, chip.npz and the figures: where a
  summary is, all of it is. A figure that cannot be drawn is a warning.

  Args:
    config: checked.
    setup: what it names.
    folder: of the run, with metrics.jsonl.
    summary: of `summarize`; 'update_size' and 'training' are added.
    params: trained meta-parameters.
    arrays: of `meta_testing.run`.
    key: of the figures.
    facts: of the training, 'wall_s' among them.
    compiled: of `make`.
    log: prints a line.
  """
  results, chip = arrays
  params_file.save(folder / params_file.FILE, params)
  atomic_files.write_npz(
      folder / 'evaluation.npz', meta_test_results.layout(config, results))
  atomic_files.write_npz(folder / 'chip.npz', chip)
  updates = figure_data.updates(chip, key, compiled.ordinary_fn)
  outputs_fn = functools.partial(
      compiled.outputs_fn, params, jax.random.fold_in(key, 1))
  figure_data.draw_all(
      config, setup, folder, summary, results, chip, updates, outputs_fn, log)
  summary['update_size'] = figure_data.update_size(*updates)
  c = config.training
  tasks = c.num_steps * c.tasks_per_step
  summary['training'] = {
      'steps': c.num_steps, 'tasks_per_step': c.tasks_per_step,
      'wall_s': facts['wall_s'],
      'tasks_per_s': tasks / max(facts['wall_s'], 1e-9)} | facts
  run_record.finish(folder, SUMMARY, summary)


def report(summary: dict[str, Any], log: Callable[[Any], None]) -> None:
  """Prints the table of a summary, and warns of what makes it worthless.

  Args:
    summary: of a run or an evaluation.
    log: prints a line or a table.
  """
  log(tables.table(summary))
  for i, rate_Hz in enumerate(summary['firing_rate_hz']):
    if rate_Hz == 0:
      log(f'Warning: hidden layer {i + 1} is dead: not one spike in the test.')
  # Summaries of before have no such field.
  if not summary.get('changed_outputs', summary['before'] != summary['after']):
    log('Warning: adaptation changed no output: nothing was written, or the '
        'change is below one step of the converters (periphery.adc_bits, '
        'periphery.adc_range).')
