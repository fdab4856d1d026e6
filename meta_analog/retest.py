"""Tests the net of a run under other conditions, into a folder of its own.

`--mode=evaluate` of `experiment` leaves one evaluation.json in the run's own
folder; here each set of conditions has its folder and its arrays, and the net
may be that before any meta-training.
"""

import pathlib
from typing import Any

import jax
import ml_collections
import rich.console

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import environment
from meta_analog import evaluation
from meta_analog import files
from meta_analog import history
from meta_analog import interrupts
from meta_analog import parameters
from meta_analog import report
from meta_analog import settings
from meta_analog import sharding
from meta_analog import training
from meta_analog import workdir as workdir_lib
from meta_analog import write_up


def run(
    config: ml_collections.ConfigDict, source: str | None, workdir: str, *,
    overrides: dict[str, str] | None = None,
    stop: interrupts.Interrupts | None = None
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
  settings.check(config)
  folder = pathlib.Path(workdir)
  if stop is not None:
    stop.advice = 'the same command tests again'
  console = rich.console.Console(highlight=False, soft_wrap=True)
  with workdir_lib.locked(folder):
    if workdir_lib.is_begun(folder) and not is_test(folder):
      raise settings.InputError(
          f'workdir {folder} holds a run; choose another --workdir')
    (folder / write_up.SUMMARY).unlink(missing_ok=True)
    history.begin(folder, environment.record() | {
        'seed': config.seed, 'overrides': overrides or {}})
    files.write_json(folder / workdir_lib.CONFIG, workdir_lib.as_json(config))
    summary = _test(config, source, folder, console.print)
    files.write_json(folder / write_up.SUMMARY, summary)
    history.finish(folder, write_up.SUMMARY)
  console.print(report.table(summary))
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
    raise settings.InputError(
        f'--checkpoint={checkpoint}: takes a .npz file of meta-parameters, and '
        '--mode=evaluate')
  if not pathlib.Path(checkpoint).is_file():
    raise settings.InputError(f'--checkpoint={checkpoint}: there is no such '
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
    return {'params': 'file', 'sha256': files.sha256(files.read_bytes(path))}
  content = files.read_bytes(path / write_up.SUMMARY)
  return {'params': 'trained', 'summary_sha256': files.sha256(content)}


def is_test(folder: pathlib.Path) -> bool:
  """Returns whether a folder with a summary holds a test, not a run."""
  return not (folder / 'checkpoints').exists() and not (
      folder / 'metrics.jsonl').exists()


def _test(config, source, folder, say):
  """Tests and writes the arrays; returns the summary."""
  setup = assembly.build(config)
  keys = jax.random.split(jax.random.key(config.seed), 5)
  state = jax.jit(training.make(config, setup).init)(keys[0])
  if source is not None and pathlib.Path(source).suffix == '.npz':
    state = state._replace(params=jax.device_put(
        parameters.load(pathlib.Path(source), state.params),
        sharding.replicated()))
  elif source is not None:
    workdir_lib.check_of_run(config, pathlib.Path(source))
    restored = checkpoints.Checkpoints(
        pathlib.Path(source) / 'checkpoints').newest(state, say)
    if restored is None:
      raise settings.InputError(f'{source} holds no checkpoint to test')
    state = restored.state
    if int(state.step) < config.training.num_steps:
      raise settings.InputError(
          f'{source} is trained to step {int(state.step)} of '
          f'{config.training.num_steps}: train it to its end first')
  say(f'Testing {source or "the untrained net"} on '
      f'{config.evaluation.num_tasks} tasks, {config.evaluation.num_chips} '
      'fresh chips.')
  results, _ = evaluation.run(
      config, setup, state.params, keys[2], keep=True)
  files.write_npz(
      folder / 'evaluation.npz', evaluation.layout(config, results))
  summary = write_up.summarize(
      config, setup, state, results, keys[3], write_up.make(config, setup))
  return summary | {'of': origin(source), 'training': {
      'steps': int(state.step)} | environment.record()}
