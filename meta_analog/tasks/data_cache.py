"""Files of data sets: folders, archives, downloads, and a cache of arrays.

A data set is read once, as it was published, and cached as one file of plain
arrays under $XDG_CACHE_HOME/meta_analog/data or ~/.cache/meta_analog/data,
named by what it was made from. That file is a convenience: one that is damaged
is made again, and where none can be written all works without.

Every mistake is a ValueError of one line that names the file.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import tempfile
import zipfile
import zlib

import numpy as np
import pooch

VARIABLE = 'META_ANALOG_DATA'
WAYS = f'--config.task.data_dir or {VARIABLE}'
Arrays = dict[str, np.ndarray]
# What reading a damaged archive or a file that cannot be read raises.
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError,
            UnicodeDecodeError)


def named() -> str:
  """Returns the folder that META_ANALOG_DATA names, or ''."""
  return os.environ.get(VARIABLE, '')


def find(data_dir: str, name: str) -> pathlib.Path | None:
  """Returns the folder of a data set.

  Args:
    data_dir: of a config; '' is the folder that META_ANALOG_DATA names.
    name: of the data set, the folder's name where data_dir holds several.

  Returns:
    data_dir/name, or data_dir itself where that is none; None where neither
    the config nor the variable names a folder.

  Raises:
    ValueError: if there is no such folder.
  """
  chosen = data_dir or named()
  if not chosen:
    return None
  folder = pathlib.Path(chosen).expanduser().absolute()
  if not folder.is_dir():
    source = 'config.task.data_dir' if data_dir else VARIABLE
    raise ValueError(f'{source} = {chosen}: there is no such folder; name one '
                     f'that holds {name} by {WAYS}')
  return folder / name if (folder / name).is_dir() else folder


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
  except _DAMAGES as error:
    where = f' at {name}' if name else ''
    raise ValueError(f'{path} is damaged{where}: {_line(error)}; fetch it '
                     'again') from None


def names(path: pathlib.Path, suffix: str) -> list[str]:
  """Returns the names of a folder's or a zip archive's files, in order.

  Args:
    path: of the folder, or of the archive where it ends in .zip.
    suffix: of the files.

  Raises:
    ValueError: if the archive is damaged.
  """
  if path.suffix != '.zip':
    return [file.relative_to(path).as_posix()
            for file in sorted(path.glob(f'**/*{suffix}'))]
  try:
    with zipfile.ZipFile(path) as archive:
      return sorted(name for name in archive.namelist()
                    if name.endswith(suffix)
                    and not name.startswith('__MACOSX'))
  except _DAMAGES as error:
    raise ValueError(f'{path} is damaged: {_line(error)}; fetch it '
                     'again') from None


def download(
    name: str, url: str, md5: str, folder: pathlib.Path
) -> pathlib.Path:
  """Returns a published file, fetched where it is not yet there.

  Args:
    name: of the file in a folder of the data set.
    url: where it is published.
    md5: of its content.
    folder: to store it in.

  Returns:
    Its path.

  Raises:
    ValueError: if it cannot be fetched, or is not what was published.
  """
  pooch.get_logger().setLevel('ERROR')
  try:
    return pathlib.Path(pooch.retrieve(
        url, known_hash=f'md5:{md5}', fname=name, path=folder,
        downloader=pooch.HTTPDownloader(timeout=30)))
  except ValueError:
    raise ValueError(f'{url} has another checksum than the published file '
                     f'(md5 {md5}): nothing of it is used; name a folder that '
                     f'holds {name} by {WAYS}') from None
  except Exception as error:  # Of what the client raises much is private.
    raise ValueError(
        f'{name} is not here and {url} cannot be fetched '
        f'({type(error).__name__}): name a folder that holds it by '
        f'{WAYS}') from None


def cache_folder() -> pathlib.Path:
  """Returns the folder of cached data sets."""
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(home).expanduser() / 'meta_analog' / 'data'


def cached(
    name: str, sources: list[pathlib.Path], build: Callable[[], Arrays]
) -> Arrays:
  """Returns the arrays that `build` makes of some files, cached.

  Args:
    name: of the data set and the form of its arrays.
    sources: files and folders that they are made from.
    build: without arguments; no array of objects.

  Returns:
    {name: array}.
  """
  path = cache_folder() / f'{name}_{_fingerprint(sources)}.npz'
  arrays = _load(path)
  if arrays is None:
    arrays = build()
    with contextlib.suppress(OSError):
      _save(path, arrays)
  return arrays


def _fingerprint(sources):
  """Returns a name for files as they are: their paths, sizes and dates."""
  facts = []
  for source in sources:
    inside = sorted(source.glob('**/*')) if source.is_dir() else [source]
    for path in inside:
      stat = path.stat()
      facts.append(f'{path.absolute()} {stat.st_size} {stat.st_mtime_ns}')
  return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:16]


def _load(path):
  """Returns the arrays of a file; None where it is not there or damaged."""
  try:
    with np.load(path, allow_pickle=False) as data:
      return {name: data[name] for name in data.files}
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error,
          KeyError):
    return None


def _save(path, arrays):
  """Writes a file whole or not at all."""
  path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
    try:
      np.savez_compressed(file, **arrays)
      file.flush()
      os.replace(file.name, path)
    except BaseException:
      os.unlink(file.name)
      raise


def _line(error):
  """Returns the message of an exception, in one line."""
  return ' '.join(str(error).split())[:160] or type(error).__name__
