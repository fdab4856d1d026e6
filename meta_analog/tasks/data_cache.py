"""Folders of data sets, downloads, and a cache of the arrays made of them.

A data set is read once, as it was published, and cached as one file of plain
arrays under $XDG_CACHE_HOME/meta_analog/data or ~/.cache/meta_analog/data,
named by what it was made from. Its first line holds the SHA-256 of the rest.
That file is a convenience: one that is damaged is made anew, which one line
says, and where none can be written all works without.

Every mistake is a ValueError of one line that names the file.
"""

from collections.abc import Callable
import contextlib
import hashlib
import io
import os
import pathlib
import sys

import numpy as np
import pooch

from meta_analog.runtime import atomic_files
from meta_analog.tasks import data_files

VARIABLE = 'META_ANALOG_DATA'
WAYS = f'--config.task.data_dir or {VARIABLE}'
Arrays = dict[str, np.ndarray]
_FORMAT = b'meta-analog data, format 2, sha256 '
_HEAD_BYTES = len(_FORMAT) + 64 + 1


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
  folder = pathlib.Path(os.path.expanduser(chosen)).absolute()
  if not folder.is_dir():
    source = 'config.task.data_dir' if data_dir else VARIABLE
    raise ValueError(f'{source} = {chosen}: there is no such folder; name one '
                     f'that holds {name} by {WAYS}')
  inside = folder / name
  return inside if data_files.exists(inside) and inside.is_dir() else folder


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
  """Returns the folder of cached data sets.

  Raises:
    ValueError: if there is no home folder.
  """
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  try:
    return pathlib.Path(home).expanduser() / 'meta_analog' / 'data'
  except RuntimeError:
    raise ValueError('there is no home folder to cache data in: name one for '
                     'caches by XDG_CACHE_HOME, or a folder of data by '
                     f'{WAYS}') from None


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

  Raises:
    ValueError: if a source cannot be read.
  """
  file = f'{name}_{_fingerprint(sources)}.npz'
  try:
    path = cache_folder() / file
  except ValueError as error:
    _warn(f'data are not cached: {error}')
    return build()
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
    inside = ([source / name for name in data_files.names(source)]
              if source.is_dir() else [source])
    for path in inside:
      stat = path.stat()
      facts.append(f'{path.absolute()} {stat.st_size} {stat.st_mtime_ns}')
  return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:16]


def _load(path):
  """Returns the arrays of a cached file; None where it is not there or bad.

  Nothing of it is parsed before its digest was compared.
  """
  if not os.path.lexists(path):
    return None
  try:
    content = path.read_bytes() if path.is_file() else b''
  except OSError:
    content = b''
  head, body = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
  if head != _head(body):
    _warn(f'the cached data {path} are damaged or of another version; they are '
          'made anew.')
    return None
  with np.load(io.BytesIO(body), allow_pickle=False) as data:
    return {name: data[name] for name in data.files}


def _warn(text):
  """Prints a warning to stderr, where there is one."""
  with contextlib.suppress(AttributeError, OSError, ValueError):
    sys.stderr.write(f'Warning: {text}\n')


def _save(path, arrays):
  """Writes a file whole or not at all."""
  body = io.BytesIO()
  np.savez_compressed(body, **arrays)
  body = body.getvalue()
  path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  atomic_files.write_bytes(path, _head(body) + body, f'.{os.getpid()}')


def _head(body):
  """Returns the line before the arrays: format, version and digest."""
  return _FORMAT + hashlib.sha256(body).hexdigest().encode() + b'\n'
