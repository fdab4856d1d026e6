"""Commands on one run: train, evaluate, compare energies, reproduce a step."""

import contextlib
import pathlib
from typing import Any

import jax
import ml_collections

from meta_analog.config import memory
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import context as context_lib
from meta_analog.experiment import evaluate
from meta_analog.experiment import reproduce
from meta_analog.experiment import train
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.reporting import terminal
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import signals

MODES = ('train', 'evaluate', 'energy', 'reproduce', 'replay')
SAME = {'replay': 'reproduce'}


def run(
    config: ml_collections.ConfigDict, workdir: str, mode: str = 'train', *,
    source: str | None = None, overrides: dict[str, str] | None = None,
    wandb: str | None = None, stop: signals.StopRequest | None = None
) -> dict[str, Any]:
  """Runs one config in one folder and returns its summary.

  Args:
    config: see `validation.check`.
    workdir: folder of the run; made where it is not there.
    mode: 'train' trains, tests and draws, or resumes where a run of the same
      config stopped, or prints the summary of a finished one. 'evaluate'
      evaluates a trained network, see `evaluate.evaluate`. 'energy' compares
      ways to write a run's adaptation. 'reproduce', or 'replay', computes the
      step again that was not finite.
    source: what 'evaluate' evaluates, into the folder; None is the run in it.
    overrides: the config's file and what was changed in it, for the record.
    wandb: project of Weights & Biases to write to; None never imports it.
    stop: signals to heed; None heeds none.

  Returns:
    What summary.json, evaluation.json or energy.json holds, or
    `reproduce.reproduce` returns.

  Raises:
    errors.InputError: if the config, the folder, the mode or the source cannot
      be.
    errors.RunError: if the run ends other than well.
  """
  folder = pathlib.Path(workdir)
  source = _check(config, folder, mode, source)
  task = {'train': train.run, 'energy': evaluate.energy,
          'evaluate': lambda context: evaluate.evaluate(context, source),
          'reproduce': reproduce.reproduce}[SAME.get(mode, mode)]
  try:
    with contextlib.ExitStack() as stack:
      distributed.from_first(lambda: _hold(
          stack, folder, must_exist=mode != 'train' and source is None))
      return task(context_lib.Context(
          config, folder, terminal.console(quiet=not distributed.is_first()),
          stop or signals.StopRequest(),
          environment.record() | {'seed': config.seed, 'mode': mode,
                                  'overrides': overrides or {}}, wandb))
  except errors.CorruptFileError:
    raise
  except (OSError, errors.StorageError) as error:
    if not distributed.is_first():  # Process 0 says how to resume.
      raise
    name = getattr(error, 'filename', None)
    where = f'{name}: ' if name else ''
    what = errors.reason(error) if isinstance(error, OSError) else str(error)
    raise errors.StorageError(
        f'{where}{what}; {workdir_lib.how_to_resume(folder)}') from error


def _check(config, folder, mode, source):
  """Raises InputError for what cannot be; returns the source, None of a run."""
  if mode not in MODES:
    raise errors.InputError(f'mode = {mode!r}: must be one of {MODES}')
  validation.check(config)
  _check_memory(config)
  for field, none in (('pretrain_steps', 0), ('begin_with', '')):
    value = config.training.get(field, none)
    if jax.process_count() > 1 and value != none:
      raise errors.InputError(
          f'config.training.{field} = {value!r}: must be {none!r} where there '
          'are several processes')
  if source is None:
    return None
  if mode != 'evaluate':
    raise errors.InputError(f'--source={source}: takes --mode=evaluate')
  distributed.from_first(lambda: evaluate.check_source(source))
  same = source != evaluate.INITIAL and (
      pathlib.Path(source).absolute() == folder.absolute())
  return None if same else source


def _check_memory(config):
  """Raises InputError where a run on this CPU's memory cannot fit it."""
  available = environment.memory_bytes()
  if available is None or jax.default_backend() != 'cpu':
    return
  try:
    memory.check(config, available, environment.num_cores())
  except ValueError as error:
    raise errors.InputError(str(error)) from None


def _hold(stack, folder, *, must_exist):
  """Holds the folder for this process until the stack is closed."""
  if must_exist and not (folder / workdir_lib.CONFIG).is_file():
    raise errors.InputError(f'{folder} holds no run: no config.json there')
  stack.enter_context(workdir_lib.locked(folder))
