"""Omniglot tasks: characters told apart after one or a few drawings of each.

The classes of a split are characters turned by quarters of a circle, each turn
a class of its own; no character is in two splits. A sample is a drawing of 28 x
28 pixels, ink 1 on paper 0, its ink in the middle or where it was drawn.

Axes: K character, D drawing, W way, S sample of a class, I pixel.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import types
from meta_analog.tasks import data_cache
from meta_analog.tasks import few_shot
from meta_analog.tasks import omniglot_files

SIDE = omniglot_files.SMALL
RANGES = {
    'way': (2, 10**6, True),
    'shot': (1, 10**6, True),
    'query_shot': (1, 10**6, True),
}


class Drawn(NamedTuple):
  """The drawings of a task."""

  character: jax.Array  # [W]
  turns: jax.Array  # [W], quarters of a circle, counter-clockwise
  drawing: jax.Array  # [W, S], the support set's first


def make(
    arrays: data_cache.Arrays, *, way: int, shot: int, query_shot: int
) -> types.Task:
  """Returns the task family.

  Args:
    arrays: see `omniglot_files.load`.
    way: W, classes of a task.
    shot: support samples of a class.
    query_shot: query samples of a class.

  Returns:
    A `types.Task` whose data are the images, uint8 [K, D, I].
  """
  pictures = arrays['images']
  num_characters, num_drawings = pictures.shape[:2]
  tables = {split: arrays[split] for split in few_shot.SPLITS}

  def sample(key, data, split='train'):
    few_shot.check_split(split)
    key_classes, key_drawings = jax.random.split(key)
    table = jnp.asarray(tables[split])
    rows = jax.random.permutation(key_classes, len(table))[:way]
    character, turns = table[rows].T
    drawing = few_shot.draw_rows(
        jax.random.split(key_drawings, way), num_drawings, shot + query_shot)
    return recall(Drawn(character, turns, drawing), data)

  def recall(drawn, data):
    x = images(data, drawn)
    return types.Episode(few_shot.samples(x[:, :shot]),
                         few_shot.samples(x[:, shot:]), drawn)

  return types.Task(
      SIDE * SIDE, way, 'accuracy', sample, few_shot.baselines,
      data=pictures.reshape(num_characters, num_drawings, -1), recall=recall,
      image_shape=(SIDE, SIDE, 1))


def images(data: jax.Array, drawn: Drawn) -> jax.Array:
  """Returns drawings, turned, [W, S, I], 0 to 1.

  Args:
    data: uint8 [K, D, I].
    drawn: which.
  """
  upright = data[drawn.character[:, None], drawn.drawing]  # [W, S, I]
  pixel = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
  turned = jnp.asarray(np.stack(
      [np.rot90(pixel, turns).ravel() for turns in range(4)]))
  x = jnp.take_along_axis(
      upright, turned[drawn.turns][:, None, :], axis=2)
  return x.astype(jnp.float32) / 255.0


def check(settings: dict[str, Any]) -> None:
  """Raises ValueError where the data cannot serve these settings.

  Args:
    settings: way, shot, query_shot, support_size, query_size, data_dir,
      centred.

  Raises:
    ValueError: if the files are missing or damaged, or hold too little.
  """
  arrays = _load(
      settings['data_dir'], data_cache.named(), settings['centred'])
  few_shot.check(
      settings, {split: len(arrays[split]) for split in few_shot.SPLITS})
  shot, query_shot = settings['shot'], settings['query_shot']
  most = omniglot_files.NUM_DRAWINGS
  if shot + query_shot > most:
    raise ValueError(f'config.task.shot = {shot}, query_shot = {query_shot}: '
                     f'together must be at most {most}, the drawings of a '
                     'character')


def image_shape(settings: dict[str, Any]) -> tuple[int, int, int]:
  """Returns height, width and channels of an image."""
  del settings
  return SIDE, SIDE, 1


def from_settings(settings: dict[str, Any]) -> types.Task:
  """Returns the task family of checked settings.

  Args:
    settings: see `check`.

  Returns:
    A `types.Task`.

  Raises:
    ValueError: if the files are missing or damaged.
  """
  arrays = _load(
      settings['data_dir'], data_cache.named(), settings['centred'])
  return make(arrays, **{k: settings[k] for k in ('way', 'shot', 'query_shot')})


@functools.cache
def _load(data_dir, variable, centred):
  """Returns the arrays, read once a process for each value of the variable."""
  del variable
  return centred_if(centred, omniglot_files.load(data_dir))


def centred_if(centred: bool, arrays: data_cache.Arrays) -> data_cache.Arrays:
  """Returns the arrays, their images centred where a config asks for it."""
  if not centred:
    return arrays
  return arrays | {'images': omniglot_files.centred(arrays['images'])}
