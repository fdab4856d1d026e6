"""Distorted images move as the maps say, all time steps and channels alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.tasks import augmentation

SHAPE = (28, 20, 2)
WIDTH = 1.5  # of a spot


def _spot(row, column, num_steps=3):
  """Returns a flat image of num_steps, a spot in channel 1, half of it in 0."""
  y, x = np.indices(SHAPE[:2])
  spot = np.exp(-((y - row)**2 + (x - column)**2) / (2 * WIDTH**2))
  image = np.zeros((num_steps, *SHAPE), np.float32)
  image[..., 1] = spot * np.arange(1, num_steps + 1)[:, None, None]
  image[..., 0] = 0.5 * image[..., 1]
  return image.ravel()


def _places(images):
  """Returns the mean place of each image's ink, [N, 2]."""
  ink = np.asarray(images).reshape(len(images), -1, *SHAPE).sum(axis=(1, 4))
  y, x = np.indices(SHAPE[:2])
  return np.stack([(ink * y).sum(axis=(1, 2)), (ink * x).sum(axis=(1, 2))],
                  axis=1) / ink.sum(axis=(1, 2))[:, None]


def _distort(images, std):
  return np.asarray(jax.jit(augmentation.distort, static_argnums=(2, 3))(
      jax.random.key(0), images, SHAPE, std))


def test_zero_std_changes_nothing():
  images = jax.random.uniform(jax.random.key(1), (4, 3 * 28 * 20 * 2))
  np.testing.assert_allclose(_distort(images, 0.0), images, atol=1e-6)


@pytest.mark.parametrize('off', [(0, 0), (7, 0), (0, 5)])
def test_a_spot_moves_as_far_as_the_maps_say(off):
  s, number = 0.04, 1500
  start = np.array([13.5, 9.5]) + off
  moved = _places(_distort(
      jnp.tile(_spot(*start), (number, 1)), s)) - start
  # In the middle the shift alone; off it the matrix, by the distance.
  expected = s * np.sqrt((np.array([28, 20]) / 4)**2 + np.sum(np.square(off)))
  np.testing.assert_allclose(
      np.sqrt(np.mean(moved**2, axis=0)), expected, rtol=0.1)
  np.testing.assert_allclose(
      moved.mean(axis=0) / expected, 0, atol=5 / np.sqrt(number))


def test_steps_and_channels_are_moved_alike():
  moved = _distort(_spot(12.0, 9.0)[None], 0.1).reshape(3, *SHAPE)
  assert moved[0, ..., 1].max() > 0.5
  np.testing.assert_allclose(moved[..., 0], 0.5 * moved[..., 1], rtol=1e-5)
  np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-5)
  np.testing.assert_allclose(moved[2], 3 * moved[0], rtol=1e-5)


def test_every_image_has_a_map_of_its_own():
  moved = _distort(jnp.tile(_spot(13.5, 9.5), (5, 1)), 0.1)
  assert len({image.tobytes() for image in moved}) == 5
