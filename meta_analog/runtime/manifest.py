"""Manifest of a folder: SHA-256 of its files, verified before they are read."""

import os
import pathlib
from typing import Any

from meta_analog.core import errors
from meta_analog.runtime import atomic_files
from meta_analog.runtime import file_format

NAME = 'manifest.json'


def write(folder: pathlib.Path, facts: dict[str, Any]) -> None:
  """Writes the manifest of a folder, once its files are on disk.

  Args:
    folder: complete but for the manifest.
    facts: what else to record: JSON values, no key 'files' or 'sha256'.

  Raises:
    OSError: if the disk fails.
  """
  paths = _paths(folder)
  for path in (*paths, folder, *(p for p in folder.rglob('*') if p.is_dir())):
    atomic_files.sync(path)
  body = file_format.numbered(facts) | {
      'files': {
          str(path.relative_to(folder)): atomic_files.sha256(
              atomic_files.read_bytes(path)) for path in paths
      }
  }
  with atomic_files.replacing(folder / NAME) as partial:
    partial.write_text(_text(body | {'sha256': _digest(body)}))


def verify(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the facts of a folder whose files are those in its manifest.

  Args:
    folder: with a manifest.

  Returns:
    What `write` was given, with 'files' and 'sha256'.

  Raises:
    CorruptFileError: names the first file that is missing, changed, a link
      or not listed.
    InputError: if the manifest's format is not known.
  """
  if folder.is_symlink() or not folder.is_dir():
    raise errors.CorruptFileError(f'{folder} is not a folder')
  raw = atomic_files.read_bytes(folder / NAME)
  try:
    body = atomic_files.parse_json(raw)
    expected = body['sha256']
    listed = dict(body['files'])
    rest = {name: body[name] for name in body if name != 'sha256'}
  except (ValueError, KeyError, TypeError, RecursionError):
    raise errors.CorruptFileError(f'{NAME} is damaged') from None
  if _text(body).encode() != raw or _digest(rest) != expected:
    raise errors.CorruptFileError(f'{NAME} is damaged')
  file_format.checked(folder / NAME, body)
  found = {str(path.relative_to(folder)): path for path in _paths(folder)
           if path.name != NAME or path.parent != folder}
  for name in sorted(listed.keys() ^ found.keys()):
    missing = name in listed
    raise errors.CorruptFileError(
        f'{name} is missing' if missing else f'{name} does not belong there')
  for name, path in sorted(found.items()):
    if atomic_files.sha256(atomic_files.read_bytes(path)) != listed[name]:
      raise errors.CorruptFileError(f'{name} is not as it was written')
  return body


def _paths(folder):
  """Returns the files below a folder; a link is an error."""
  paths = []
  for parent, folders, names in os.walk(folder):
    for name in (*folders, *names):
      path = pathlib.Path(parent, name)
      if path.is_symlink():
        raise errors.CorruptFileError(f'{path.relative_to(folder)} is a link')
      if name in names:
        paths.append(path)
  return sorted(paths)


def _text(body):
  return atomic_files.json_text(body, NAME, indent=1, sort_keys=True) + '\n'


def _digest(body):
  return atomic_files.sha256(_text(body).encode())
