"""Folder of a run: its lock, its config, and how to resume."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import fcntl
import json
import os
import pathlib
from typing import Any

import ml_collections

from meta_analog.config import saved as saved_lib
from meta_analog.core import errors
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints

LOCK = '.lock'
FOLDERS = ('figures', 'reproducer', 'tensorboard')  # that a run writes into
FILES = ('config.json', 'run.json', 'metrics.jsonl', 'summary.json',
         'parameters.npz', 'evaluation.npz', 'chip.npz', 'pretrained.npz',
         'log.txt', 'table.json', 'table.md', 'table.png')
CONFIG = 'config.json'
PRETRAINING = 'pretraining'  # folder of its checkpoints


class InUseError(errors.InputError):
  """Another process holds the folder."""


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
  """Returns a path whose ~ is the home folder.

  Raises:
    errors.InputError: if there is no such home; ./~ is a folder of that name.
  """
  found = os.path.expanduser(path)
  if found.startswith('~'):
    raise errors.InputError(f'{path}: there is no such home folder')
  return pathlib.Path(found)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Holds a folder for this process; the lock dies with the process.

  Args:
    folder: made where it is not there.

  Raises:
    errors.InputError: if it is no folder or cannot be written.
    InUseError: if another run holds it.
  """
  atomic_files.check_writable(folder)
  for name in FOLDERS:
    if (folder / name).is_symlink():
      raise errors.InputError(
          f'{folder / name} is a link: a run writes within its workdir only')
    if os.path.lexists(folder / name) and not (folder / name).is_dir():
      raise errors.InputError(f'{folder / name} is no folder: remove it')
  for name in FILES:
    if (folder / name).exists() and not (folder / name).is_file():
      raise errors.InputError(f'{folder / name} is no regular file: remove it')
  try:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW,
                   0o644)
  except OSError as error:
    raise _unwritable(folder, error) from None
  try:
    _take(lock, folder)
    yield
  finally:
    os.close(lock)


def _take(lock, folder):
  """Locks the open file and writes this process's number into it."""
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    owner = os.read(lock, 20).decode(errors='replace').strip()
    raise InUseError(
        f'workdir {folder} is in use by another run'
        f'{f" (process {owner})" if owner.isdecimal() else ""}; wait for it '
        'or choose another --workdir') from None
  except OSError as error:
    raise _unwritable(folder, error) from None
  with contextlib.suppress(OSError):  # a courtesy, also on a full disk
    os.truncate(lock, 0)
    os.write(lock, f'{os.getpid()}\n'.encode())


def _unwritable(folder, error):
  return errors.InputError(
      f'workdir {folder} cannot be written: {errors.reason(error)}')


def as_json(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns a config as config.json holds it."""
  return json.loads(config.to_json_best_effort())


def claim(
    config: ml_collections.ConfigDict, folder: pathlib.Path,
    warn: Callable[[str], None]
) -> None:
  """Writes config.json into a new folder, or checks that it is the same.

  Checkpoints know their config, so a damaged config.json is written again.

  Args:
    config: checked.
    folder: locked.
    warn: called with a line when config.json is mended.

  Raises:
    errors.InputError: if the folder holds another run, or other files.
  """
  now, path = as_json(config), folder / CONFIG
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  if not is_begun(folder):
    atomic_files.write_json(path, now)
    return
  recorded = recorded_config(saved) or recorded_config(pretraining(folder))
  try:
    there = atomic_files.read_json(path)
  except errors.CorruptFileError:
    there = None
  before = recorded or there
  if not isinstance(before, dict):
    raise errors.InputError(
        f'workdir {folder} holds other files and no config.json of a run; '
        'choose another --workdir')
  before, there = map(saved_lib.without_sweep, (before, there))
  if before != now:
    raise errors.InputError(
        f'workdir {folder} holds a run of another config: '
        f'{changed(before, now)}; choose another --workdir')
  if there != now:
    warn(f'Warning: {path} was damaged; it is written again.')
    atomic_files.write_json(path, now)


def is_begun(folder: pathlib.Path) -> bool:
  """Returns whether a folder holds something of a run but its config."""
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  return bool(saved.steps() or pretraining(folder).steps()) or any(
      (folder / name).is_file() for name in ('metrics.jsonl', 'summary.json'))


def pretraining(folder: pathlib.Path) -> checkpoints.Checkpoints:
  """Returns the checkpoints of a run's pretraining, until it is done."""
  return checkpoints.Checkpoints(folder / PRETRAINING)


def forget_pretraining(folder: pathlib.Path) -> None:
  """Removes the checkpoints of a run's pretraining, once it is done."""
  if (folder / PRETRAINING).exists():
    atomic_files.remove(folder / PRETRAINING)


def unused(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Returns the path of a file that is not there: a.json, a_2.json and so on.

  Args:
    folder: locked.
    name: of the first such file.
  """
  path, number = folder / name, 1
  while path.exists() or path.is_symlink():
    number += 1
    path = folder / f'{pathlib.Path(name).stem}_{number}{path.suffix}'
  return path


def contents(folder: pathlib.Path) -> str:
  """Returns the names of all that lies in a folder, folders with a slash.

  Args:
    folder: of a run.
  """
  return ', '.join(
      f'{path.name}/' if path.is_dir() else path.name
      for path in sorted(folder.iterdir()) if not path.name.startswith('.'))


def how_to_resume(folder: pathlib.Path) -> str:
  """Returns in words what the same command will do after a failure."""
  try:
    steps = checkpoints.Checkpoints(folder / 'checkpoints').steps()
    first = pretraining(folder).steps()
  except errors.CorruptFileError:
    steps = first = []
  if steps:
    return f'the same command resumes from the checkpoint of step {steps[0]}'
  if first:
    return f'the same command resumes from step {first[0]} of pretraining'
  return 'there is no checkpoint yet: the same command begins again'


def recorded_config(saved: checkpoints.Checkpoints) -> dict[str, Any] | None:
  """Returns the config of the newest checkpoint that is as it was written."""
  for step in saved.steps():
    try:
      return saved.facts(step).get('config')
    except errors.CorruptFileError:
      continue
  return None


def check_of_run(
    config: ml_collections.ConfigDict, folder: pathlib.Path
) -> bool:
  """Checks that a folder's network fits a config, to test it again.

  Args:
    config: checked; of the run but for what overrides changed.
    folder: of a run.

  Returns:
    Whether the config is that of the run, with no field changed.

  Raises:
    errors.InputError: if the folder holds no run, or the run's parameters
      cannot fit this config.
    errors.CorruptFileError: if config.json is damaged.
  """
  path = folder / CONFIG
  if not path.is_file():
    raise errors.InputError(f'{folder} holds no run: no config.json there')
  run = atomic_files.read_json(path)
  recorded = recorded_config(checkpoints.Checkpoints(folder / 'checkpoints'))
  if recorded is not None and recorded != run:
    fields = ', '.join(sorted(differences(recorded, run))) if isinstance(
        run, dict) else 'all fields'
    raise errors.CorruptFileError(
        f'{path} is not the config of its checkpoints ({fields} differ): put '
        'it back, or name the config by --config and train on to mend it')
  try:
    network, task = run['network'], run['task']['name']
    sizes, layers = network['hidden_sizes'], network.get('convolutions', [])
    shaping = _shaping(saved_lib.filled(run))
  except (KeyError, TypeError, AttributeError):
    raise errors.InputError(f'{path} is not the config of a run') from None
  now = as_json(config)
  if (sizes != now['network']['hidden_sizes'] or task != config.task.name
      or layers != now['network'].get('convolutions', [])):
    raise errors.InputError(
        f'{folder} holds a net with hidden layers {layers + sizes} for {task}: '
        'network.hidden_sizes, network.convolutions and task.name cannot be '
        'changed')
  for field, value in _shaping(now).items():
    if shaping[field] != value:
      raise errors.InputError(f'{folder} holds a net with {field} = '
                              f'{shaping[field]}, which cannot be changed')
  return saved_lib.filled(run) == saved_lib.filled(now)


def differences(
    a: dict[str, Any], b: dict[str, Any], prefix: str = ''
) -> Iterator[str]:
  """Yields the dotted names of the fields in which two configs differ."""
  for name in {*a, *b}:
    x, y = a.get(name), b.get(name)
    if isinstance(x, dict) and isinstance(y, dict):
      yield from differences(x, y, f'{prefix}{name}.')
    elif x != y:
      yield f'{prefix}{name}'


def changed(before: dict[str, Any], now: dict[str, Any]) -> str:
  """Returns the fields in which two configs differ, with their values."""
  def value(config, field):
    for part in field.split('.'):
      config = config.get(part, {}) if isinstance(config, dict) else {}
    return 'nothing' if config == {} else config

  return ', '.join(f'{field} = {value(before, field)} is now '
                   f'{value(now, field)}'
                   for field in sorted(differences(before, now)))


def _shaping(config):
  """Returns the fields, beside the layers, that an array's shape follows."""
  return {f'{part}.{name}': config[part].get(name) for part, name in (
      ('network', 'input_channels'), ('task', 'way'), ('task', 'pool'))}
