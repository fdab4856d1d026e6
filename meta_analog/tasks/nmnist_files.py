"""Published files of N-MNIST: events of a camera that looks at moving digits.

An event is 40 bits: x, y (one byte each), polarity (one bit) and time (23 bits,
us), most significant first. y = 240 is no event but means that the clock's low
13 bits ran over: 8192 us are added to all that follows.
Source: Orchard et al., 2015 (doi:10.3389/fnins.2015.00437), and the authors'
Read_Ndataset.

Axes: E event, R recording.
"""

from collections.abc import Iterator
import pathlib

import numpy as np

from meta_analog.tasks import data_cache
from meta_analog.tasks import data_files

SIDE = 34  # pixels
OVERFLOW_Y = 240
OVERFLOW_US = 8192
# Every recording has three saccades of 100 ms, and events to its end (1,100
# published ones end between 296.8 and 336.0 ms): one that ends earlier is cut.
# A cut between two events of the last 5 % is not seen.
SHORTEST_US = 280_000


def load(data_dir: str, most_recordings: int) -> data_cache.Arrays:
  """Returns the events of the recordings.

  Args:
    data_dir: see `data_cache.find`.
    most_recordings: of each digit; where there are more, those are taken whose
      names come first, half of them from Train, half from Test, or whichever
      there are.

  Returns:
    'x', 'y', 'polarity' uint8 [E], 'time_us' int32 [E]; 'start' int64 [R + 1],
    the first event of each recording, and the end; 'digit' uint8 [R].

  Raises:
    ValueError: if there is no folder, or a file is damaged.
  """
  folder = data_cache.find(data_dir, 'nmnist')
  if folder is None:
    raise ValueError(
        'N-MNIST needs a folder: name by '
        f'{data_cache.WAYS} the one that holds Train/<digit>/*.bin and '
        'Test/<digit>/*.bin, as they are or in zip archives, from '
        'https://www.garrickorchard.com/datasets/n-mnist')
  return data_cache.cached(
      f'nmnist_{most_recordings}', _sources(folder),
      lambda: _build(folder, most_recordings))


def decode(content: bytes, name: str) -> np.ndarray:
  """Returns the events of a recording, int32 [E, 4]: x, y, polarity, time_us.

  Args:
    content: of the file.
    name: of the file.

  Raises:
    ValueError: if the file is cut or holds what no recording holds.
  """
  if not content or len(content) % 5:
    raise ValueError(f'{name} is cut: {len(content)} bytes are no whole number '
                     'of events of 5 bytes; fetch it again')
  b = np.frombuffer(content, np.uint8).reshape(-1, 5).astype(np.int32)
  x, y, polarity = b[:, 0], b[:, 1], b[:, 2] >> 7
  time_us = ((b[:, 2] & 127) << 16) | (b[:, 3] << 8) | b[:, 4]
  overflow = y == OVERFLOW_Y
  time_us = time_us + OVERFLOW_US * np.cumsum(overflow, dtype=np.int32)
  events = np.stack([x, y, polarity, time_us], axis=1)[~overflow]
  if not len(events) or events[-1, 3] < SHORTEST_US:
    last = events[-1, 3] if len(events) else 0
    raise ValueError(f'{name} is cut: its last event is at {last} us, before '
                     'the end of the third saccade; fetch it again')
  if events[:, :2].max() >= SIDE or np.any(np.diff(events[:, 3]) < 0):
    raise ValueError(f'{name} is damaged: an event is outside {SIDE} x {SIDE} '
                     'pixels or out of order; fetch it again')
  return events


def _build(folder, most_recordings):
  """Returns the arrays of `load`."""
  chosen = _choose(folder, most_recordings)
  events, digits = [], []
  for path, names in chosen.items():
    for name, content in data_files.read(path, names):
      events.append(decode(content, str(path / name)))
      digits.append(_place(path, name)[1])
  order = np.argsort(digits, kind='stable')
  x, y, polarity, time_us = np.concatenate([events[i] for i in order]).T
  start = np.cumsum([0] + [len(events[i]) for i in order])
  return {'x': x.astype(np.uint8), 'y': y.astype(np.uint8),
          'polarity': polarity.astype(np.uint8),
          'time_us': time_us.astype(np.int32), 'start': start.astype(np.int64),
          'digit': np.array(digits, np.uint8)[order]}


def _choose(folder, most):
  """Returns {folder or archive: names} of the recordings that are read."""
  found, known = {}, set()
  for path, name in _recordings(folder):
    part, digit = _place(path, name)
    one = part, digit, pathlib.PurePosixPath(name).name
    if one in known:  # An archive and what was extracted from it lie together.
      continue
    known.add(one)
    found.setdefault(digit, {'Train': [], 'Test': []})[part].append(
        (path, name))
  missing = sorted(set(range(10)) - set(found))
  if missing:
    raise ValueError(
        f'{folder} holds no recording of digit {missing[0]}: it must hold '
        'Train/<digit>/*.bin or Test/<digit>/*.bin, as they are or in zip '
        f'archives; name the folder of N-MNIST by {data_cache.WAYS}')
  chosen = {}
  for parts in found.values():
    train, test = parts['Train'], parts['Test']
    num_test = min(len(test), max(most // 2, most - len(train)))
    for path, name in train[:most - num_test] + test[:num_test]:
      chosen.setdefault(path, []).append(name)
  return chosen


def _sources(folder):
  """Returns the archives and folders that hold recordings."""
  return [*data_files.archives(folder),
          *(folder / name for name in ('Train', 'Test')
            if data_files.exists(folder / name))]


def _recordings(folder) -> Iterator[tuple[pathlib.Path, str]]:
  """Yields (folder or archive, name within) of every recording."""
  for path in _sources(folder):
    for name in data_files.names(path, '.bin'):
      if _place(path, name) is not None:
        yield path, name


def _place(path, name):
  """Returns (Train or Test, digit) of a recording, or None for another file."""
  parts = pathlib.PurePosixPath(name).parts
  if path.suffix != '.zip':
    parts = (path.name, *parts)
  for part, digit in zip(parts[:-1], parts[1:-1]):
    if part in ('Train', 'Test') and digit in tuple('0123456789'):
      return part, int(digit)
  return None
