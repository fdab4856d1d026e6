"""Few-shot classification: targets, checks of sizes, simple baselines.

An episode of W classes has its samples in order of class: those of class 0
first.

Axes: B task, W way (class of the task), N sample, I input.
"""

from collections.abc import Collection
import functools

import jax
import jax.numpy as jnp

from meta_analog.core import linalg
from meta_analog.core import types

SPLITS = ('train', 'validation', 'test')


def targets(way: int, shot: int) -> jax.Array:
  """Returns the one-hot targets of `shot` samples of each class, [N, W]."""
  return jnp.repeat(jnp.eye(way, dtype=jnp.float32), shot, axis=0)


def samples(x: jax.Array) -> types.Samples:
  """Returns the samples of an episode's inputs.

  Args:
    x: [W, shot, I].

  Returns:
    `types.Samples` of W shot samples.
  """
  way, shot = x.shape[:2]
  return types.Samples(x.reshape(way * shot, -1), targets(way, shot))


def check(sizes: dict[str, int], num_classes: dict[str, int]) -> None:
  """Raises ValueError where an episode has more classes than a split.

  Args:
    sizes: way, shot, query_shot, support_size and query_size, as a config has
      them.
    num_classes: of each split.

  Raises:
    ValueError: names the field.
  """
  way, split = sizes['way'], min(num_classes, key=num_classes.get)
  if way > num_classes[split]:
    raise ValueError(f'config.task.way = {way}: must be at most '
                     f'{num_classes[split]}, the classes of the {split} split')
  for field, shot in (('support_size', 'shot'), ('query_size', 'query_shot')):
    if sizes[field] != way * sizes[shot]:
      raise ValueError(f'config.task.{field} = {sizes[field]}: must be way '
                       f'times {shot}, {way * sizes[shot]}; set these instead')


def check_split(split: str, known: Collection[str] = SPLITS) -> None:
  """Raises ValueError unless the split is known."""
  if split not in known:
    raise ValueError(f'split {split!r}: must be one of {", ".join(known)}')


def baselines(episodes: types.Episode) -> dict[str, jax.Array]:
  """Returns the accuracy of predictors that need no network, [B] each.

  'chance' guesses; 'nearest_mean' takes the class whose mean support input is
  nearest.

  Args:
    episodes: arrays with a leading axis B.

  Returns:
    {name: [B]}.
  """
  return jax.vmap(_baselines)(episodes.support, episodes.query)


def _baselines(support, query):
  sums = linalg.matmul(support.y.T, support.x)
  means = sums / jnp.sum(support.y, axis=0)[:, None]
  distance = (jnp.sum(jnp.square(means), axis=1)[None]  # less what all share
              - 2.0 * linalg.matmul(query.x, means.T))
  hits = jnp.argmin(distance, axis=1) == jnp.argmax(query.y, axis=1)
  way = support.y.shape[1]
  return {'chance': jnp.float32(1.0 / way),
          'nearest_mean': jnp.mean(hits.astype(jnp.float32))}


@functools.partial(jax.vmap, in_axes=(0, None, None))
def draw_rows(key: jax.Array, number: int, size: int) -> jax.Array:
  """Returns for each key `size` different rows of `number`, [W, size]."""
  return jax.random.permutation(key, number)[:size]
