"""Published files of Omniglot: 1,623 characters, each drawn by 20 people.

Source: Lake, Salakhutdinov & Tenenbaum, 2015 (doi:10.1126/science.aab3050), and
the split into classes of Vinyals et al., 2016 (arXiv:1606.04080), as published
with Snell, Swersky & Zemel, 2017 (arXiv:1703.05175): one line a class,
`Alphabet/character01/rot090`, counter-clockwise.

Axes: K character, D drawing, S side of a published image, s of a small one.
"""

from collections.abc import Mapping
import io
import pathlib
import types

import numpy as np
from PIL import Image

from meta_analog.tasks import data_cache
from meta_analog.tasks import data_files

SIDE = 105  # pixels of a published image
SMALL = 28
NUM_DRAWINGS = 20
NUM_CHARACTERS: Mapping[str, int] = types.MappingProxyType(
    {'images_background': 964, 'images_evaluation': 659})
# Split: the name of its file.
SPLITS: Mapping[str, str] = types.MappingProxyType({
    'train': 'vinyals_train.txt', 'validation': 'vinyals_val.txt',
    'test': 'vinyals_test.txt'})
_IMAGES = 'https://raw.githubusercontent.com/brendenlake/omniglot/master/python'
_LISTS = ('https://raw.githubusercontent.com/jakesnell/prototypical-networks/'
          'master/data/omniglot/splits/vinyals')
# File: (where it is published, its md5).
PUBLISHED: Mapping[str, tuple[str, str]] = types.MappingProxyType({
    'images_background.zip': (
        f'{_IMAGES}/images_background.zip',
        '68d2efa1b9178cc56df9314c21c6e718'),
    'images_evaluation.zip': (
        f'{_IMAGES}/images_evaluation.zip',
        '6b91aef0f799c5bb55b94e3f2daec811'),
    'vinyals_train.txt': (
        f'{_LISTS}/train.txt', '433d1fcc2b20dcee2983ceb524586f7f'),
    'vinyals_val.txt': (
        f'{_LISTS}/val.txt', '78c535fa427b12b6596908376a0b3f34'),
    'vinyals_test.txt': (
        f'{_LISTS}/test.txt', '43534e6d5f9e74acbb7de1b4874abad8')})


def load(
    data_dir: str = '',
    num_characters: Mapping[str, int] = NUM_CHARACTERS,
    published: Mapping[str, tuple[str, str]] = PUBLISHED,
) -> data_cache.Arrays:
  """Returns the images and the classes of each split.

  Args:
    data_dir: see `data_cache.find`; where no folder is named published files
      are fetched.
    num_characters: that each set of images must hold.
    published: where to fetch from.

  Returns:
    'images' uint8 [K, D, s, s], ink 255 on paper 0; 'names' [K], text; for each
    split its name: int32 [classes, 2], character and quarter turns.

  Raises:
    ValueError: if a file is missing, damaged, or not what it should be.
  """
  folder = data_cache.find(data_dir, 'omniglot')
  if folder is None:
    here = data_cache.cache_folder() / 'omniglot'
    files = {name: data_cache.download(name, *source, here)
             for name, source in published.items()}
    sets = {name: files[f'{name}.zip'] for name in num_characters}
    lists = {split: files[file] for split, file in SPLITS.items()}
  else:
    sets = {name: _locate(folder, name) for name in num_characters}
    lists = {split: folder / file for split, file in SPLITS.items()}
  for path in lists.values():
    if not (data_files.exists(path) and path.is_file()):
      raise ValueError(f'{path} is missing: it names the classes of a split, '
                       'one Alphabet/character01/rot000 a line; put it there, '
                       f'or name another folder by {data_cache.WAYS}')
  arrays = data_cache.cached(
      f'omniglot_{SMALL}', list(sets.values()),
      lambda: _build(sets, num_characters))
  return arrays | read_splits(lists, list(arrays['names']))


def read_splits(
    lists: Mapping[str, pathlib.Path], known: list[str]
) -> data_cache.Arrays:
  """Returns the classes of each split, [classes, 2].

  Args:
    lists: {split: file}.
    known: names of the characters.

  Raises:
    ValueError: if a line names no class, a class is named twice or not at all,
      or a character is in two splits.
  """
  index = {name: i for i, name in enumerate(known)}
  turns = {f'rot{90 * i:03d}': i for i in range(4)}
  tables, owner, classes = {}, {}, set()
  for split, path in lists.items():
    rows = []
    for number, line in enumerate(
        path.read_text(errors='replace').split('\n'), 1):
      if not line.strip():
        continue
      name, _, turn = line.strip().rpartition('/')
      if name not in index or turn not in turns:
        raise ValueError(f'{path}, line {number}: {line.strip()[:60]!r} is no '
                         'class of these images')
      if owner.setdefault(name, split) != split:
        raise ValueError(f'{path}, line {number}: {name} is in the split '
                         f'{owner[name]} too')
      if (name, turn) in classes:
        raise ValueError(
            f'{path}, line {number}: {line.strip()} is there twice')
      classes.add((name, turn))
      rows.append((index[name], turns[turn]))
    if not rows:
      raise ValueError(f'{path} names no class')
    tables[split] = np.array(rows, np.int32)
  absent = [f'{name}/{turn}' for name in known for turn in turns
            if (name, turn) not in classes]
  if absent:
    files = ', '.join(str(path) for path in lists.values())
    raise ValueError(f'{files} leave out {len(absent)} of '
                     f'{len(known) * len(turns)} classes, such as {absent[0]}: '
                     'one of them is cut')
  return tables


def shrink(ink: np.ndarray, side: int) -> np.ndarray:
  """Returns images whose pixels are the means over the areas they cover.

  Args:
    ink: [N, S, S], 0 to 1.
    side: of the result, s.

  Returns:
    uint8 [N, s, s], 0 to 255.
  """
  edges = np.arange(side + 1) * (ink.shape[-1] / side)
  pixels = np.arange(ink.shape[-1])
  cover = np.clip(np.minimum(edges[1:, None], pixels + 1)
                  - np.maximum(edges[:-1, None], pixels), 0, None)
  cover = (cover / cover.sum(axis=1, keepdims=True)).astype(np.float32)
  return np.rint(255 * (cover @ ink.astype(np.float32) @ cover.T)).astype(
      np.uint8)


def centred(images: np.ndarray) -> np.ndarray:
  """Returns images moved by whole pixels until their ink is in the middle.

  The middle is the mean place of the ink, as in MNIST (LeCun et al., 1998); ink
  that leaves the image is lost.

  Args:
    images: [..., s, s].
  """
  side, ink = images.shape[-1], images.astype(np.float32)
  pixels, total = np.arange(side), np.maximum(ink.sum(axis=(-2, -1)), 1e-6)
  for axis in (-2, -1):
    mean = (ink.sum(axis=-3 - axis) @ pixels.astype(np.float32)) / total
    source = pixels + np.rint(mean - 0.5 * (side - 1)).astype(int)[..., None]
    outside = (source < 0) | (source >= side)
    source, outside = (
        np.expand_dims(x, -3 - axis) for x in (source, outside))
    images = np.where(outside, 0, np.take_along_axis(
        images, np.clip(source, 0, side - 1), axis=axis)).astype(images.dtype)
  return images


def _locate(folder, name):
  """Returns the archive, or else the folder, of a set of images."""
  for path in (folder / f'{name}.zip', folder / name):
    if data_files.exists(path):
      return path
  raise ValueError(
      f'{folder} holds neither {name}.zip nor a folder {name}: '
      f'name the folder of Omniglot by {data_cache.WAYS}, or none, '
      'and the published files are fetched')


def _build(sets, num_characters):
  """Returns 'images' and 'names' of all sets."""
  images, found = [], []
  for name, path in sets.items():
    drawings = {}
    for file, content in data_files.read(
        path, data_files.names(path, '.png')):
      character = '/'.join(pathlib.PurePosixPath(file).parts[-3:-1])
      drawings.setdefault(character, []).append(
          _ink(content, path / file))
    wrong = [c for c, rows in drawings.items() if len(rows) != NUM_DRAWINGS]
    if wrong:
      raise ValueError(f'{path}: {len(drawings[wrong[0]])} drawings of '
                       f'{wrong[0]}, not {NUM_DRAWINGS}')
    if len(drawings) != num_characters[name]:
      raise ValueError(f'{path} holds {len(drawings)} characters: it must be '
                       f'the {num_characters[name]} of {name}')
    for character, rows in drawings.items():
      images.append(shrink(np.stack(rows), SMALL))
      found.append(character)
  return {'images': np.stack(images), 'names': np.array(found)}


def _ink(content, name):
  """Returns one published image as booleans [S, S], true where ink is."""
  try:
    image = Image.open(io.BytesIO(content), formats=('PNG',))
    size = image.size
    if size == (SIDE, SIDE):
      return np.asarray(image.convert('L')) < 128
  except (OSError, ValueError, SyntaxError,
          Image.DecompressionBombError) as error:
    raise ValueError(f'{name} is damaged: {" ".join(str(error).split())}'
                     ) from None
  raise ValueError(f'{name} is {size[0]} x {size[1]} pixels: an image of '
                   f'Omniglot has {SIDE} x {SIDE}')
