"""Files and folders written atomically, and read without following links."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
import stat
from typing import Any
import zipfile

import numpy as np

from meta_analog.core import errors
from meta_analog.runtime import file_format

PARTIAL = '.partial'  # ends the name of what is being written or removed
MOST_RATIO = 1100  # of bytes to their compressed form; deflate reaches 1032


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
def replacing(
    path: pathlib.Path, writer: str = ''
) -> Iterator[pathlib.Path]:
  """Yields a file beside `path` that takes its place once it is on disk.

  Where the block raises, `path` stays as it was.

  Args:
    path: of the file.
    writer: in the name of the file beside it, where others may write the same.
  """
  partial = path.with_name(f'{path.name}{writer}{PARTIAL}')
  try:
    if partial.is_symlink():  # to anywhere
      partial.unlink()
    yield partial
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
  except BaseException:
    with contextlib.suppress(OSError):
      partial.unlink(missing_ok=True)
    raise


def json_text(value: Any, what: str, **options: Any) -> str:
  """Returns a value as JSON, which knows no NaN and no infinity.

  Args:
    value: of dicts, lists, numbers and texts.
    what: what holds it, such as the name of its file.
    **options: of json.dumps.

  Raises:
    NonFiniteError: names the first key whose number is not finite.
  """
  try:
    return json.dumps(value, allow_nan=False, **options)
  except ValueError:
    key, number = next(_not_finite(value))
    raise errors.NonFiniteError(
        f'{what}: {key} = {number} is not finite, so it is not '
        'written') from None


def parse_json(data: bytes) -> Any:
  """Returns the value of a JSON text.

  Raises:
    ValueError: if it is none, or a number of it is not finite.
  """
  return json.loads(data, parse_float=_finite, parse_constant=_finite)


def _finite(digits):
  """Returns a number of a JSON text."""
  number = float(digits)
  if not math.isfinite(number):
    raise ValueError(f'{digits} is not finite')
  return number


def _not_finite(value, key=''):
  """Yields the dotted key and the value of numbers that are not finite."""
  if isinstance(value, dict):
    items = value.items()
  elif isinstance(value, (list, tuple)):
    items = enumerate(value)
  else:
    if isinstance(value, float) and not math.isfinite(value):
      yield key, value
    return
  for name, item in items:
    yield from _not_finite(item, f'{key}.{name}' if key else str(name))


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all.

  Raises:
    NonFiniteError: see `json_text`; what was there stays.
  """
  write_bytes(path, json_bytes(value, path.name))


def write_bytes(path: pathlib.Path, content: bytes, writer: str = '') -> None:
  """Writes a file whole or not at all, see `replacing`."""
  with replacing(path, writer) as partial:
    partial.write_bytes(content)


def json_bytes(value: Any, what: str) -> bytes:
  """Returns what `write_json` writes, an object with its format."""
  if isinstance(value, dict):
    value = file_format.numbered(value)
  return (json_text(value, what, indent=2) + '\n').encode()


def write_npz(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes named arrays and `format`, compressed, whole or not at all."""
  with replacing(path) as partial:
    with partial.open('wb') as file:  # numpy would add .npz to a name
      np.savez_compressed(file, **file_format.numbered(arrays))


def read_json(path: pathlib.Path) -> Any:
  """Returns what a JSON file holds, an object without its format.

  Raises:
    CorruptFileError: if it is no JSON, cannot be read, or is a link.
    InputError: if its format is not known.
  """
  try:
    value = parse_json(read_bytes(path))
  except (ValueError, RecursionError):
    raise errors.CorruptFileError(f'{path} is damaged: not JSON') from None
  return file_format.checked(path, value) if isinstance(value, dict) else value


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a .npz file by name; nothing in it is run.

  Raises:
    CorruptFileError: if it cannot be read, or declares arrays of another size
      than it holds; before memory is taken for them.
    InputError: if its format is not known.
  """
  data = read_bytes(path, follow=True)
  try:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
      for member in archive.infolist():
        _check_size(archive, member, len(data))
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
      arrays = {name: np.asarray(found[name]) for name in found.files}
  except Exception as error:  # zipfile and numpy raise what they like
    raise errors.CorruptFileError(
        f'{path} is damaged: {errors.reason(error)}') from None
  return file_format.checked(path, arrays)


def _check_size(archive, member, num_bytes):
  """Raises ValueError where an array is not as long as its header says."""
  if member.file_size > MOST_RATIO * num_bytes:
    raise ValueError(f'{member.filename} is longer than the file can hold')
  with archive.open(member) as stream:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(stream)
    declared = math.prod(shape) * dtype.itemsize + stream.tell()
  if declared != member.file_size:
    raise ValueError(f'{member.filename} declares the shape {shape}, which is '
                     'not what it holds')


def read_bytes(path: pathlib.Path, *, follow: bool = False) -> bytes:
  """Returns a file's content; a pipe is not waited for.

  Args:
    path: of the file.
    follow: whether a link is followed.

  Raises:
    CorruptFileError: if it cannot be read or is no regular file.
  """
  flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
  try:
    file = os.open(path, flags)
    with os.fdopen(file, 'rb') as stream:
      if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, 'it is no regular file')
      return stream.read()
  except OSError as error:
    why = ('a link' if path.is_symlink() and not follow
           else errors.reason(error))
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
