"""Augmentation of images by small random affine maps.

    p' = m + (1 + A) (p - m) + b,  A_ij ~ N(0, s^2),  b_i ~ N(0, (s side / 4)^2)

about the middle m, p' being where in the image pixel p of the result is read:
scale, rotation, shear and shift, of a pixel half way to the edge about as far
by each. Interpolated linearly, 0 outside.

Axes: N sample, h, w pixel, C channel; `...` time steps, where there are any.
"""

import jax
import jax.numpy as jnp
from jax.scipy import ndimage

from meta_analog.core import linalg


def distort(
    key: jax.Array, images: jax.Array, image_shape: tuple[int, int, int],
    std: float
) -> jax.Array:
  """Returns images, each under a map of its own, all its steps alike.

  Args:
    key: consumed.
    images: [N, ... h w C], flat.
    image_shape: h, w, C.
    std: s, standard deviation of the maps.

  Returns:
    The same shape.
  """
  sides = jnp.array(image_shape[:2], jnp.float32)[:, None]
  middle = 0.5 * (sides - 1.0)
  from_middle = jnp.stack(jnp.meshgrid(
      *(jnp.arange(side, dtype=jnp.float32) for side in image_shape[:2]),
      indexing='ij')).reshape(2, -1) - middle

  def one(key, image):
    normal = lambda key, shape: jax.random.normal(key, shape, jnp.float32)
    key_matrix, key_shift = jax.random.split(key)
    matrix = jnp.eye(2, dtype=jnp.float32) + std * normal(key_matrix, (2, 2))
    shift = 0.25 * std * sides * normal(key_shift, (2, 1))
    places = (middle + linalg.matmul(matrix, from_middle) + shift).reshape(
        2, *image_shape[:2])
    layers = jnp.moveaxis(image.reshape(-1, *image_shape), -1, 1)
    take = lambda layer: ndimage.map_coordinates(layer, list(places), order=1)
    moved = jax.vmap(jax.vmap(take))(layers)
    return jnp.moveaxis(moved, 1, -1).ravel()

  return jax.vmap(one)(jax.random.split(key, len(images)), images)
