"""Convolution as products of one crossbar: im2col and back.

Every position of an image hands the crossbar the window of pixels about it, so
positions are to the crossbar what samples are: one array, read many times. An
image of h x w is padded by half a window of zeros, k // 2, and windows are
`stride` apart.

Axes: N sample, I pixel and channel (row by row, channels last), P position (row
by row), R row of the crossbar (row, column and channel of a window), O output;
`...` any.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Window(NamedTuple):
  """What one convolution sees; static."""

  height: int  # of the image
  width: int
  channels: int
  kernel: int  # k, side of a window
  stride: int


def out_size(window: Window) -> tuple[int, int]:
  """Returns height and width of the result, in positions."""
  reach = 2 * (window.kernel // 2) - window.kernel
  return ((window.height + reach) // window.stride + 1,
          (window.width + reach) // window.stride + 1)


def num_positions(window: Window) -> int:
  """Returns P."""
  height, width = out_size(window)
  return height * width


def num_rows(window: Window) -> int:
  """Returns R, without the bias."""
  return window.kernel**2 * window.channels


def chain(
    image_shape: tuple[int, int, int], layers: tuple[tuple[int, ...], ...]
) -> tuple[tuple[Window, ...], tuple[int, int, int]]:
  """Returns the windows of convolutions one after the other.

  Args:
    image_shape: height, width and channels of the input.
    layers: (channels of the result, kernel, stride) of each.

  Returns:
    The windows, and the last result's height, width and channels.

  Raises:
    ValueError: if a kernel is larger than its image.
  """
  windows = []
  for channels, kernel, stride in layers:
    if kernel > min(image_shape[:2]):
      raise ValueError(f'{(channels, kernel, stride)}: the kernel must fit its '
                       f'input of {image_shape[0]} x {image_shape[1]}')
    windows.append(Window(*image_shape, kernel, stride))
    image_shape = (*out_size(windows[-1]), channels)
  return tuple(windows), image_shape


def shapes(
    image_shape: tuple[int, int, int], layers: tuple[tuple[int, ...], ...],
    sizes: tuple[int, ...]
) -> tuple[tuple[Window, ...], tuple[tuple[int, int], ...]]:
  """Returns the windows of a network, and the shape of each of its crossbars.

  Args:
    image_shape: see `chain`.
    layers: see `chain`.
    sizes: outputs of the dense layers that follow.

  Returns:
    The windows, and (inputs without the bias, outputs) of every layer.
  """
  windows, last = chain(image_shape, layers)
  dense = (math.prod(last), *sizes)
  return windows, (
      *((num_rows(window), layer[0]) for window, layer in zip(windows, layers)),
      *zip(dense[:-1], dense[1:]))


def unfold(images: jax.Array, window: Window) -> jax.Array:
  """Returns the windows of images, as rows.

  Args:
    images: [..., N, I].
    window: see `Window`.

  Returns:
    [..., N P, R].
  """
  before, (height, width) = images.shape[:-1], out_size(window)
  pad, stride = window.kernel // 2, window.stride
  x = images.reshape(before + (window.height, window.width, window.channels))
  x = jnp.pad(x, [(0, 0)] * len(before) + [(pad, pad)] * 2 + [(0, 0)])
  parts = [
      x[..., i:i + stride * (height - 1) + 1:stride,
        j:j + stride * (width - 1) + 1:stride, :]
      for i in range(window.kernel) for j in range(window.kernel)]
  rows = jnp.concatenate(parts, axis=-1)
  return rows.reshape(
      before[:-1] + (before[-1] * height * width, num_rows(window)))


def fold(outputs: jax.Array, window: Window) -> jax.Array:
  """Returns what the positions gave as images: [..., N, P O].

  Args:
    outputs: [..., N P, O].
    window: see `Window`.
  """
  positions = num_positions(window)
  *before, many, channels = outputs.shape
  return outputs.reshape(*before, many // positions, positions * channels)
