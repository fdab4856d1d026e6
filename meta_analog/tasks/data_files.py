"""Files of data sets as they were published: in folders or in zip archives.

A folder or an archive is read whole, linked files and folders too, or refused
in one line. Hidden files are no data: `.DS_Store`, and the `._name` that macOS
leaves beside every file on other disks.
"""

from collections.abc import Collection
from collections.abc import Iterator
import os
import pathlib
import stat
import zipfile
import zlib

from meta_analog.core import errors

# What reading a damaged archive or a file that cannot be read raises.
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError,
           UnicodeDecodeError)


def exists(path: pathlib.Path) -> bool:
  """Returns whether a file or folder is there.

  Args:
    path: of it, or of a link to it.

  Raises:
    ValueError: if it cannot be read, as where a link leads nowhere.
  """
  try:
    os.stat(path)
    return True
  except OSError as error:
    if os.path.islink(path):
      raise ValueError(
          f'{path} is a link to {os.readlink(path)}, which cannot be read: '
          'mend or remove the link') from None
    if isinstance(error, FileNotFoundError | NotADirectoryError):
      return False
    raise ValueError(f'{path} cannot be read: {errors.reason(error)}') from None


def archives(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the zip archives of a folder, by name.

  Args:
    folder: not its sub-folders.

  Raises:
    ValueError: if one is a link that leads nowhere.
  """
  return [path for path in sorted(folder.glob('*.zip'))
          if not _is_hidden(path.name) and exists(path)]


def names(path: pathlib.Path, suffix: str = '') -> list[str]:
  """Returns the names of a folder's or a zip archive's files, in order.

  Args:
    path: of the folder, or of the archive where it ends in .zip.
    suffix: of the files.

  Returns:
    Names within it, with slashes.

  Raises:
    ValueError: if a part of it cannot be read.
  """
  if path.suffix != '.zip':
    return [name for name in _walk(path, '', ()) if name.endswith(suffix)]
  try:
    with zipfile.ZipFile(path) as archive:
      entries = archive.infolist()
  except DAMAGES as error:
    raise ValueError(f'{path} is damaged: {errors.reason(error)}; fetch it '
                     'again') from None
  entries = [entry for entry in entries if not any(
      map(_is_hidden, pathlib.PurePosixPath(entry.filename).parts))]
  for entry in entries:
    if stat.S_ISLNK(entry.external_attr >> 16):
      raise ValueError(f'{path} holds the link {entry.filename}: unpack it, '
                       'which makes it a file or folder')
  return sorted(entry.filename for entry in entries
                if entry.filename.endswith(suffix))


def read(
    path: pathlib.Path, members: Collection[str]
) -> Iterator[tuple[str, bytes]]:
  """Yields files of a folder or a zip archive.

  Args:
    path: of the folder, or of the archive where it ends in .zip.
    members: names of the files, see `names`.

  Yields:
    Their name within it, with slashes, and content.

  Raises:
    ValueError: if the archive is damaged or a file cannot be read.
  """
  name = None
  try:
    if path.suffix != '.zip':
      for name in members:
        yield name, (path / name).read_bytes()
      return
    with zipfile.ZipFile(path) as archive:
      for name in members:
        yield name, archive.read(name)
  except DAMAGES as error:
    where = f' at {name}' if name else ''
    raise ValueError(f'{path} is damaged{where}: {errors.reason(error)}; '
                     'fetch it again') from None


def _is_hidden(name):
  return name.startswith('.') or name == '__MACOSX'


def _walk(folder, prefix, above):
  """Yields the names of all files below a folder, through links.

  Args:
    folder: to walk through.
    prefix: of its names, '' or ending in a slash.
    above: identities of the folders that lead to it.
  """
  try:
    here = os.stat(folder)
    found = sorted(os.listdir(folder))
  except OSError as error:
    raise ValueError(
        f'{folder} cannot be read: {errors.reason(error)}') from None
  here = here.st_dev, here.st_ino
  if here in above:
    raise ValueError(f'{folder} is a link to a folder that it lies in: remove '
                     'the link')
  for name in found:
    path = folder / name
    if _is_hidden(name) or not exists(path):
      continue
    if path.is_dir():
      yield from _walk(path, f'{prefix}{name}/', (*above, here))
    elif path.is_file():
      yield prefix + name
    else:
      raise ValueError(f'{path} is neither a file nor a folder: remove it')
