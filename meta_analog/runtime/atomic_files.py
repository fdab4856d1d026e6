"""Files and folders written atomically, and read without following links."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any
import zipfile
import zlib

import numpy as np

from meta_analog.core import errors

PARTIAL = '.partial'  # ends the name of what is being written or removed


def check_writable(folder: pathlib.Path) -> None:
  """Makes the folder, with its parents.

  Args:
    folder: to be written into.

  Raises:
    InputError: if it is a file or nothing can be written there.
  """
  try:
    if folder.exists() and not folder.is_dir():
      raise errors.InputError(f'workdir {folder} is a file: name a folder')
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise errors.InputError(
        f'workdir {folder} cannot be written: {errors.reason(error)}') from None


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a file beside `path` that takes its place once it is on disk.

  Where the block raises, `path` stays as it was.
  """
  partial = path.with_name(path.name + PARTIAL)
  try:
    yield partial
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
  except BaseException:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    raise


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all."""
  with replacing(path) as partial:
    partial.write_text(json.dumps(value, indent=2) + '\n')


def write_npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes named arrays, compressed, whole or not at all."""
  with replacing(path) as partial:
    with partial.open('wb') as file:  # numpy would add .npz to a name
      np.savez_compressed(file, **arrays)


def read_json(path: pathlib.Path) -> Any:
  """Returns what a JSON file holds.

  Raises:
    CorruptFileError: if it is no JSON, cannot be read, or is a link.
  """
  try:
    return json.loads(read_bytes(path))
  except (ValueError, RecursionError):
    raise errors.CorruptFileError(f'{path} is damaged: not JSON') from None


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a .npz file by name; nothing in it is run.

  Raises:
    CorruptFileError: if it cannot be read.
  """
  try:
    with np.load(path, allow_pickle=False) as data:
      return {name: np.asarray(data[name]) for name in data.files}
  except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError,
          AttributeError, MemoryError, zipfile.BadZipFile,
          zlib.error) as error:
    raise errors.CorruptFileError(
        f'{path} is damaged: {errors.reason(error)}') from None


def read_bytes(path: pathlib.Path) -> bytes:
  """Returns a file's content; a link is not followed.

  Raises:
    CorruptFileError: if it cannot be read or is a link.
  """
  try:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(file, 'rb') as stream:
      return stream.read()
  except OSError as error:
    why = 'a link' if path.is_symlink() else errors.reason(error)
    raise errors.CorruptFileError(f'{path} cannot be read: {why}') from None


def sha256(data: bytes) -> str:
  """Returns the SHA-256 of bytes in hexadecimal."""
  return hashlib.sha256(data).hexdigest()


def sync(path: pathlib.Path) -> None:
  """Returns once a file, or the names in a folder, are on disk."""
  file = os.open(path, os.O_RDONLY)
  try:
    os.fsync(file)
  finally:
    os.close(file)


def require_space(folder: pathlib.Path, num_bytes: int) -> None:
  """Raises OSError where a folder's disk cannot take as many bytes.

  A library that meets a full disk in its own threads prints what it meets.
  """
  path = folder / f'space{PARTIAL}'
  if not hasattr(os, 'posix_fallocate'):  # macOS
    return
  try:
    with path.open('wb') as file:
      os.posix_fallocate(file.fileno(), 0, num_bytes)
  except OSError as error:
    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # cannot be asked
      raise
  finally:
    path.unlink(missing_ok=True)


def move_into_place(partial: pathlib.Path, final: pathlib.Path) -> None:
  """Gives a finished folder its name, in place of what has that name."""
  if final.exists() or final.is_symlink():
    remove(final)
  os.rename(partial, final)
  sync(final.parent)


def remove(folder: pathlib.Path) -> None:
  """Removes a folder; one that is half removed no longer has its name."""
  if folder.is_symlink() or not folder.is_dir():
    folder.unlink()
    return
  doomed = folder
  if not folder.name.endswith(PARTIAL):
    doomed = folder.with_name(f'{folder.name}.old{PARTIAL}')
    if doomed.exists():
      shutil.rmtree(doomed)
    os.rename(folder, doomed)
  shutil.rmtree(doomed)


def remove_partial(folder: pathlib.Path) -> None:
  """Removes what a killed run left half written or half removed."""
  if folder.is_dir() and not folder.is_symlink():
    for path in folder.glob(f'*{PARTIAL}'):
      remove(path)
