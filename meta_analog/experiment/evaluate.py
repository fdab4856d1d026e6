"""Tests the net of a run under other conditions, into a folder of its own.

`--mode=evaluate` of `experiment` leaves one evaluation.json in the run's own
folder; here each set of conditions has its folder and its arrays, and the net
may be that before any meta-training.
"""

import pathlib
from typing import Any

import jax
import ml_collections

from meta_analog.config import build
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.evaluation import meta_test_results
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import results as results_lib
from meta_analog.experiment import run_keys
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.reporting import tables
from meta_analog.reporting import terminal
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import environment
from meta_analog.runtime import signals
from meta_analog.training import meta_training
from meta_analog.training import params_file


def run(
    config: ml_collections.ConfigDict, source: str | None, workdir: str, *,
    overrides: dict[str, str] | None = None,
    stop: signals.StopRequest | None = None
) -> dict[str, Any]:
  """Tests a run's net and writes config.json, evaluation.npz, summary.json.

  The keys are those of a run with this seed, so that tasks and chips are the
  run's own where the conditions leave them.

  Args:
    config: to test under.
    source: folder of the run, or a file of meta-parameters where it ends in
      .npz; None tests the random net that a training of this config, or its
      pretraining, begins with.
    workdir: of the test; no folder of a run.
    overrides: the config's file and what was changed in it, for the record.
    stop: signals to heed; None heeds none.

  Returns:
    What summary.json holds: as a run's, but for 'update_size', and with 'of',
    see `origin`.

  Raises:
    settings.InputError: if the config, the run or the folder cannot be.
    faults.Fault: if the test ends other than well.
  """
  validation.check(config)
  folder = pathlib.Path(workdir)
  if stop is not None:
    stop.advice = 'the same command tests again'
  console = terminal.console()
  with workdir_lib.locked(folder):
    if workdir_lib.is_begun(folder) and not is_test(folder):
      raise errors.InputError(
          f'workdir {folder} holds a run; choose another --workdir')
    (folder / results_lib.SUMMARY).unlink(missing_ok=True)
    run_record.begin(folder, environment.record() | {
        'seed': config.seed, 'overrides': overrides or {}})
    atomic_files.write_json(folder / workdir_lib.CONFIG,
                            workdir_lib.as_json(config))
    summary = _test(config, source, folder, console.print)
    atomic_files.write_json(folder / results_lib.SUMMARY, summary)
    run_record.finish(folder, results_lib.SUMMARY)
  console.print(tables.table(summary))
  console.print(f'Written to {folder}: summary.json, evaluation.npz.')
  return summary


def of_file(
    config: ml_collections.ConfigDict, checkpoint: str, workdir: str,
    mode: str, **kwargs: Any
) -> dict[str, Any]:
  """Tests a file of meta-parameters; the other arguments are those of `run`.

  Raises:
    settings.InputError: if the mode is not 'evaluate', or it is no such file.
    faults.Fault: see `run`.
  """
  if mode != 'evaluate' or not checkpoint.endswith('.npz'):
    raise errors.InputError(
        f'--checkpoint={checkpoint}: takes a .npz file of meta-parameters, and '
        '--mode=evaluate')
  if not pathlib.Path(checkpoint).is_file():
    raise errors.InputError(f'--checkpoint={checkpoint}: there is no such '
                            'file')
  return run(config, checkpoint, workdir, **kwargs)


def origin(source: str | pathlib.Path | None) -> dict[str, Any]:
  """Returns what was tested: 'params', and the SHA-256 of summary or file.

  The summary holds the seconds that the training took, so a run that was
  trained anew is another.

  Args:
    source: folder of the run, or file; None of an untrained net.

  Raises:
    faults.DamageError: if the run has no summary.
  """
  if source is None:
    return {'params': 'initial'}
  path = pathlib.Path(source)
  if path.suffix == '.npz':
    return {
        'params': 'file',
        'sha256': atomic_files.sha256(atomic_files.read_bytes(path))
    }
  content = atomic_files.read_bytes(path / results_lib.SUMMARY)
  return {'params': 'trained', 'summary_sha256': atomic_files.sha256(content)}


def is_test(folder: pathlib.Path) -> bool:
  """Returns whether a folder with a summary holds a test, not a run."""
  return not (folder / 'checkpoints').exists() and not (
      folder / 'metrics.jsonl').exists()


def _test(config, source, folder, say):
  """Tests and writes the arrays; returns the summary."""
  setup = build.build(config)
  keys = run_keys.make(config.seed)
  state = jax.jit(meta_training.make(config, setup).init)(keys.init)
  if source is not None and pathlib.Path(source).suffix == '.npz':
    state = state._replace(params=jax.device_put(
        params_file.load(pathlib.Path(source), state.params),
        sharding.replicated()))
  elif source is not None:
    workdir_lib.check_of_run(config, pathlib.Path(source))
    restored = checkpoints.Checkpoints(
        pathlib.Path(source) / 'checkpoints').newest(state, say)
    if restored is None:
      raise errors.InputError(f'{source} holds no checkpoint to test')
    state = restored.state
    if int(state.step) < config.training.num_steps:
      raise errors.InputError(
          f'{source} is trained to step {int(state.step)} of '
          f'{config.training.num_steps}: train it to its end first')
  say(f'Testing {source or "the untrained net"} on '
      f'{config.evaluation.num_tasks} tasks, {config.evaluation.num_chips} '
      'fresh chips.')
  results, _ = meta_testing.run(
      config, setup, state.params, keys.test)
  atomic_files.write_npz(
      folder / 'evaluation.npz', meta_test_results.layout(config, results))
  summary = results_lib.summarize(
      config, setup, state, results, keys.validation,
      results_lib.make(config, setup))
  return summary | {'of': origin(source), 'training': {
      'steps': int(state.step)} | environment.record()}
