"""Double N-MNIST tasks: pairs of digits, side by side, as a camera's events.

A class is a pair of digits, 100 in all: 64 to train, 16 to validate, 20 to
test. The recordings of each digit are split as well, 80 % to train and
validate, 20 % to test, so that training and test share neither classes nor
recordings; nor do the support and the query set of one task.
Source: the task of Stewart & Neftci, 2022 (arXiv:2201.10777); the recordings
see `nmnist_files`.

An input holds for each time step the events of both polarities at each pixel of
the joint image, counted in pixels of pool x pool, 1 being `saturation` events
or more.

Axes: R recording, T time step, h, w pixel, C polarity, W way, S sample of a
class, M recording of a digit.
"""

import functools
import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import types
from meta_analog.tasks import data_cache
from meta_analog.tasks import few_shot
from meta_analog.tasks import nmnist_files

NUM_CLASSES = {'train': 64, 'validation': 16, 'test': 20}
TEST_SHARE = 0.2  # of the recordings of a digit
RANGES = {
    'way': (2, 10**6, True),
    'shot': (1, 10**6, True),
    'query_shot': (1, 10**6, True),
    'split_seed': (0, 2**32 - 1, True),
    'most_recordings': (10, 10**6, True),
    'pool': (1, nmnist_files.SIDE, True),
    'saturation': (1, 255, True),
}


class Drawn(NamedTuple):
  """Recordings that a task is made of."""

  digits: jax.Array  # [W, 2], left and right
  recording: jax.Array  # [W, S, 2], the support set's first


class Parts(NamedTuple):
  """Classes and recordings that tasks of one split are drawn from."""

  classes: np.ndarray  # [classes, 2], pairs of digits
  recordings: np.ndarray  # [10, M], of each digit; -1 where it has fewer
  fewest: int  # of a digit


def split(digit: np.ndarray, seed: int) -> dict[str, Parts]:
  """Returns the classes and the recordings of each split.

  Args:
    digit: [R], of each recording.
    seed: decides both.
  """
  random = np.random.RandomState(seed)  # whose stream no version changes
  pairs = random.permutation(100)
  train, test = [], []
  for d in range(10):
    mine = random.permutation(np.flatnonzero(digit == d))
    num_test = round(TEST_SHARE * len(mine))
    train.append(mine[num_test:])
    test.append(mine[:num_test])
  ends = np.cumsum([0, *NUM_CLASSES.values()])
  parts = {}
  for name, first, last in zip(NUM_CLASSES, ends[:-1], ends[1:]):
    lists = test if name == 'test' else train
    table = np.full((10, max(map(len, lists))), -1, np.int32)
    for d, mine in enumerate(lists):
      table[d, :len(mine)] = mine
    classes = np.stack(np.divmod(pairs[first:last], 10), axis=1)
    parts[name] = Parts(
        classes.astype(np.int32), table, min(map(len, lists)))
  return parts


def bin_events(
    arrays: data_cache.Arrays, *, num_steps: int, step_us: float, pool: int
) -> np.ndarray:
  """Returns the events of each recording, counted.

  Args:
    arrays: see `nmnist_files.load`.
    num_steps: T; later events are left out.
    step_us: length of a time step.
    pool: pixels of the camera along a pixel of the result.

  Returns:
    uint8 [R, T, h, w, C]; 255 stands for more as well.

  Raises:
    ValueError: where this machine has no memory for so many steps.
  """
  side = _side(pool)
  start = arrays['start']
  recording = np.repeat(np.arange(len(start) - 1), np.diff(start))
  # A step next to nothing divides to infinity.
  with np.errstate(over='ignore', invalid='ignore'):
    step = np.fmin(arrays['time_us'] // step_us, num_steps).astype(np.int64)
  inside = step < num_steps
  shape = (len(start) - 1, num_steps, side, side, 2)
  try:
    counts = np.zeros(shape, np.uint8)
  except (MemoryError, ValueError):  # ValueError: too large for any machine
    raise ValueError(
        f'config.network.num_time_steps = {num_steps}: the recordings need '
        f'{float(math.prod(shape)) / 1e9:.3g} GB of memory; lower it') from None
  place, number = np.unique(np.ravel_multi_index(
      (recording[inside], step[inside], arrays['y'][inside] // pool,
       arrays['x'][inside] // pool, arrays['polarity'][inside]),
      shape), return_counts=True)
  counts.reshape(-1)[place] = np.minimum(number, 255)
  return counts


def make(
    counts: np.ndarray, parts: dict[str, Parts], *, way: int, shot: int,
    query_shot: int, saturation: int
) -> types.Task:
  """Returns the task family.

  Args:
    counts: see `bin_events`.
    parts: see `split`.
    way: W, classes of a task.
    shot: support samples of a class.
    query_shot: query samples of a class.
    saturation: events that make an input of 1.

  Returns:
    A `types.Task` whose data are the counts.
  """
  _, num_steps, height, width, _ = counts.shape

  def sample(key, data, split='train'):
    few_shot.check_split(split)
    return recall(draw(key, parts[split], way, shot, query_shot), data)

  def inputs(recording, data):
    both = data[recording]  # [W, S, 2, T, h, w, C]
    joint = jnp.concatenate([both[:, :, 0], both[:, :, 1]], axis=4)
    x = jnp.minimum(joint.astype(jnp.float32) / saturation, 1.0)
    return x.reshape(*x.shape[:2], -1)

  def recall(drawn, data):
    x = inputs(drawn.recording, data)
    return types.Episode(few_shot.samples(x[:, :shot]),
                         few_shot.samples(x[:, shot:]), drawn)

  return types.Task(
      num_steps * height * 2 * width * 2, way, 'accuracy', sample,
      few_shot.baselines, data=counts, recall=recall,
      image_shape=(height, 2 * width, 2))


def draw(
    key: jax.Array, parts: Parts, way: int, shot: int, query_shot: int
) -> Drawn:
  """Returns a task of one split.

  Each task shuffles the recordings of every digit and gives one half to its
  support set, the other to its query set.

  Args:
    key: consumed.
    parts: of the split.
    way: W.
    shot: at most half the fewest recordings of a digit.
    query_shot: as well.
  """
  key_classes, key_order, key_support, key_query = jax.random.split(key, 4)
  rows = jax.random.permutation(key_classes, len(parts.classes))[:way]
  digits = jnp.asarray(parts.classes)[rows]
  table = jnp.asarray(parts.recordings)
  rank = jnp.where(table < 0, 2.0, jax.random.uniform(
      key_order, table.shape, jnp.float32))
  shuffled = jnp.take_along_axis(table, jnp.argsort(rank, axis=1), axis=1)
  half = parts.fewest // 2

  def pairs(key, pool, size):
    row = few_shot.draw_rows(jax.random.split(key, way), half, half)
    both = jnp.stack([row, jnp.roll(row, 1, axis=1)], axis=2)[:, :size]
    return pool[digits[:, None], both]  # [W, size, 2]

  return Drawn(digits, jnp.concatenate(
      [pairs(key_support, shuffled[:, :half], shot),
       pairs(key_query, shuffled[:, half:2 * half], query_shot)], axis=1))


def check(settings: dict[str, Any]) -> None:
  """Raises ValueError where the data cannot serve these settings.

  Args:
    settings: the fields of RANGES, support_size, query_size, data_dir, and the
      network's num_time_steps and dt_ms.

  Raises:
    ValueError: if the files are missing or damaged, or hold too little.
  """
  _, parts = _prepared_for(settings)
  few_shot.check(settings, NUM_CLASSES)
  most = min(part.fewest for part in parts.values()) // 2
  for field in ('shot', 'query_shot'):
    if settings[field] > most:
      raise ValueError(f'config.task.{field} = {settings[field]}: must be at '
                       f'most {most}, half the fewest recordings of a digit '
                       'in a split')


def image_shape(settings: dict[str, Any]) -> tuple[int, int, int]:
  """Returns height, width and channels of a joint image."""
  side = _side(settings['pool'])
  return side, 2 * side, 2


def from_settings(settings: dict[str, Any]) -> types.Task:
  """Returns the task family of checked settings.

  Args:
    settings: see `check`.

  Returns:
    A `types.Task`.

  Raises:
    ValueError: if the files are missing or damaged.
  """
  counts, parts = _prepared_for(settings)
  return make(counts, parts, **{k: settings[k] for k in (
      'way', 'shot', 'query_shot', 'saturation')})


def _side(pool):
  """Returns pixels along one side of a pooled image."""
  return -(-nmnist_files.SIDE // pool)


def _prepared_for(settings):
  """Returns the counts and the parts of settings."""
  return _prepared(
      settings['data_dir'], data_cache.named(), settings['most_recordings'],
      settings['split_seed'], settings['num_time_steps'],
      1000.0 * settings['dt_ms'], settings['pool'])


@functools.cache
def _prepared(
    data_dir, variable, most_recordings, seed, num_steps, step_us, pool):
  """Returns the counts and the parts, once for each value of the variable."""
  del variable
  arrays = nmnist_files.load(data_dir, most_recordings)
  counts = bin_events(
      arrays, num_steps=num_steps, step_us=step_us, pool=pool)
  return counts, split(arrays['digit'], seed)
