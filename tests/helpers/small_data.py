"""Data sets for tests: the real ones where they lie, small ones everywhere.

The small ones have the published formats, and content by which a test can tell
characters, drawings and recordings apart.
"""

import io
import os
import pathlib
import zipfile

import numpy as np
from PIL import Image
import pytest

from meta_analog.tasks import omniglot as omniglot_lib
from meta_analog.tasks import omniglot_files

FOLDER = os.environ.get('META_ANALOG_DATA') or str(
    pathlib.Path(__file__).parents[3] / 'shared' / 'data')
# Of the small Omniglot.
NUM_CHARACTERS = {'images_background': 3, 'images_evaluation': 2}
LISTS = {'vinyals_train.txt': ('Old/character01', 'Old/character02'),
         'vinyals_val.txt': ('Old/character03',),
         'vinyals_test.txt': ('New/character01', 'New/character02')}


def real(name: str) -> str:
  """Returns the folder of the real data, or skips the test."""
  if not (pathlib.Path(FOLDER) / name).is_dir():
    pytest.skip(f'{name} is not at {FOLDER} (META_ANALOG_DATA names another)')
  return FOLDER


def drawing(character: int, number: int) -> np.ndarray:
  """Returns one small-set image, booleans [105, 105], true where ink is.

  The drawings of a character differ in about one block of twelve.
  """
  coarse = np.random.RandomState(character).rand(7, 7) < 0.3
  random = np.random.RandomState(100 + 100 * character + number)
  coarse ^= random.rand(7, 7) < 0.08
  return np.kron(coarse, np.ones((15, 15), bool))


def png(ink: np.ndarray) -> bytes:
  """Returns a picture as Omniglot's are: one bit, ink is black."""
  file = io.BytesIO()
  Image.fromarray(~ink).convert('1').save(file, 'PNG')
  return file.getvalue()


def omniglot(folder: pathlib.Path, zipped: bool = True) -> pathlib.Path:
  """Writes a small Omniglot; returns its folder."""
  folder.mkdir(parents=True, exist_ok=True)
  character = 0
  for name, alphabet in (('images_background', 'Old'),
                         ('images_evaluation', 'New')):
    files = {}
    for i in range(NUM_CHARACTERS[name]):
      for number in range(20):
        path = f'{name}/{alphabet}/character{i + 1:02d}/'
        path += f'{character + 1:04d}_{number + 1:02d}.png'
        files[path] = png(drawing(character, number))
      character += 1
    write(folder, name, files, zipped)
  for name, characters in LISTS.items():
    (folder / name).write_text(''.join(
        f'{c}/rot{turn:03d}\n' for c in characters
        for turn in (0, 90, 180, 270)))
  return folder


def use_omniglot(folder: pathlib.Path, monkeypatch) -> None:
  """Writes a small Omniglot that configs with this data_dir accept."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
  monkeypatch.setattr(omniglot_lib, '_load', lambda data_dir, _, centred: (
      omniglot_lib.centred_if(
          centred, omniglot_files.load(data_dir, NUM_CHARACTERS))))
  omniglot(folder / 'omniglot')


def recording(digit: int, number: int, num_events: int = 40) -> np.ndarray:
  """Returns the events of one small recording, [E, 4]: x, y, p, time_us."""
  random = np.random.RandomState(1000 + 100 * digit + number)
  events = random.randint(0, 34, (num_events, 4))
  events[:, 2] %= 2
  events[:, 3] = np.sort(random.randint(0, 300_000, num_events))
  events[-1, 3] = 305_000
  return events


def aer(events: np.ndarray) -> bytes:
  """Returns events as 40 bits each."""
  return b''.join(
      int(x << 32 | y << 24 | p << 23 | t).to_bytes(5, 'big')
      for x, y, p, t in events.tolist())


def nmnist(
    folder: pathlib.Path, zipped: bool = True, per_digit: int = 20
) -> pathlib.Path:
  """Writes a small N-MNIST, 3 in 4 in Train; returns its folder."""
  files = {}
  for digit in range(10):
    for number in range(per_digit):
      part = 'Train' if number < 0.75 * per_digit else 'Test'
      files[f'{part}/{digit}/{number:05d}.bin'] = aer(recording(digit, number))
  folder.mkdir(parents=True, exist_ok=True)
  write(folder, 'nmnist', files, zipped)
  return folder


def write(folder, name, files, zipped):
  """Writes {path: content} into a zip archive, or as they are."""
  if zipped:
    with zipfile.ZipFile(folder / f'{name}.zip', 'w') as archive:
      for path, content in files.items():
        archive.writestr(path, content)
    return
  for path, content in files.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)


def load_omniglot(folder):
  """Returns the arrays of a folder that `omniglot` made."""
  return omniglot_files.load(str(folder), NUM_CHARACTERS)
