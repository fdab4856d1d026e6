"""Run record, run.json: an entry for each command, digests of results."""

import datetime
import pathlib
from typing import Any

from meta_analog.core import errors
from meta_analog.runtime import atomic_files

NAME = 'run.json'


def begin(folder: pathlib.Path, entry: dict[str, Any]) -> None:
  """Adds one command to the record; a damaged record is begun again.

  Args:
    folder: of the run.
    entry: JSON values; the time is added.
  """
  record = _read(folder)
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  record.setdefault('commands', []).append({'time': now} | entry)
  atomic_files.write_json(folder / NAME, record)


def finish(folder: pathlib.Path, name: str, value: Any) -> None:
  """Writes a result, its digest first, so that damage to it is found.

  Args:
    folder: of the run.
    name: of a JSON file in it, which nothing is written after.
    value: that the file is to hold.

  Raises:
    errors.NonFiniteError: see `atomic_files.json_text`.
  """
  record, content = _read(folder), atomic_files.json_bytes(value, name)
  record.setdefault('sha256', {})[name] = atomic_files.sha256(content)
  (folder / name).unlink(missing_ok=True)  # of another digest
  atomic_files.write_json(folder / NAME, record)
  atomic_files.write_bytes(folder / name, content)


def result(folder: pathlib.Path, name: str) -> Any:
  """Returns what a result file holds, as it was written.

  Args:
    folder: of the run.
    name: of a JSON file in it.

  Returns:
    Its value, or None where there is no such file.

  Raises:
    errors.CorruptFileError: if it is not as it was written.
  """
  path = folder / name
  if not path.is_file():
    return None
  value = atomic_files.read_json(path)
  expected = _read(folder).get('sha256', {}).get(name)
  if expected not in (None, atomic_files.sha256(atomic_files.read_bytes(path))):
    raise errors.CorruptFileError(f'{path} is not as it was written')
  return value


def _read(folder):
  """Returns the record, empty where there is none that can be read."""
  try:
    record = atomic_files.read_json(folder / NAME)
  except errors.CorruptFileError:
    return {}
  fits = isinstance(record, dict) and isinstance(
      record.get('commands', []), list) and isinstance(
          record.get('sha256', {}), dict)
  return record if fits else {}
