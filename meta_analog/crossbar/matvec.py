"""Matrix-vector products of a crossbar through its converters and tiles.

A layer reading is what one forward pass reads of an array, with its columns;
`product` and `source` give the digital outputs of a layer for inputs over time,
by the equations of `periphery`.

Axes: T time step, N sample, I in (bias included, last), O out, K tile of rows.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import currents
from meta_analog.core import dtypes
from meta_analog.core import gaussian
from meta_analog.core import linalg
from meta_analog.crossbar import array
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.crossbar import read_noise

# Rows of a unit-weight column whose wire resists as much as the cell conducts.
# Source: aihwkit, rpu_forward_backward_pass, Gw / g_max (Rasch et al., 2023).
WIRE_TO_CELL = 5.7143e5


class LayerReading(NamedTuple):
  """One layer as one forward pass reads it."""

  reading: array.Reading
  columns: periphery_lib.Columns
  weight_max: jax.Array  # scalar, weight of the largest difference of a pair
  factor: jax.Array | float  # scalar or [O], digital drift compensation


def product(key: jax.Array,
            periphery: periphery_lib.Periphery,
            layer: LayerReading,
            inputs: jax.Array,
            num_steps: int,
            *,
            spikes: bool = False) -> jax.Array:
  """Returns the digital outputs of one layer at every time step, [T, N, O].

  The arguments are those of `matvec.source`.
  """
  return currents.currents(
      source(key, periphery, layer, inputs, num_steps, spikes=spikes))


def source(key: jax.Array,
           periphery: periphery_lib.Periphery,
           layer: LayerReading,
           inputs: jax.Array,
           num_steps: int,
           *,
           spikes: bool = False) -> currents.Source:
  """Returns the digital outputs of one layer as a source of currents.

  Args:
    key: consumed by the read noise that is fresh in every product.
    periphery: design.
    layer: reading of the layer.
    inputs: [N, I - 1], constant over time, or [T, N, I - 1].
    num_steps: T.
    spikes: whether every input is 0 or 1, static.

  Returns:
    A `currents.Source` of currents [T, N, O].
  """
  layer, inputs = dtypes.float32((layer, inputs))
  square = read_noise.square_of_spikes if spikes else jnp.square
  steps, noise, fixed = zip(
      *_tiles(key, periphery, layer, inputs, square, num_steps))
  return currents.Source(
      functools.partial(_digital, periphery.adc_bits), steps, noise,
      (fixed, jnp.reshape(layer.factor, (1, -1))), num_steps)


def tile_products(key: jax.Array, periphery: periphery_lib.Periphery,
                  layer: LayerReading, inputs: jax.Array) -> jax.Array:
  """Returns what the ADC of each tile gives for inputs once, [K, N, O].

  Args:
    key: consumed by the read noise that is fresh in every product.
    periphery: design.
    layer: reading of the layer; its factor is not applied.
    inputs: [N, I - 1].

  Returns:
    [K, N, O].
  """
  tiles = _tiles(key, periphery, layer, inputs, jnp.square, 1)
  return jnp.stack([
      _converted(periphery.adc_bits, fixed | {
          name: draws[0] for name, draws in noise.items()})
      for _, noise, fixed in tiles])


def _tiles(key, periphery, layer, inputs, square, num_steps):
  """Returns the analog outputs of every tile, see `_tile`."""
  return [
      _tile(jax.random.fold_in(key, k), periphery, layer, inputs, square, k,
            num_steps) for k in range(layer.columns.gain.shape[0])]


def _tile(key, periphery, layer, inputs, square, k, num_steps):
  """Returns the outputs of tile k: arrays per step, noise, fixed arrays.

  The form that makes the time loop fastest: 'line' where the analog output is
  constant, plus 'spread' times 'noise'; or else 'mean', with its noise, plus
  'shift'. The column's gain multiplies the weights: XLA would draw it in the
  loop for every entry.
  """
  columns = layer.columns
  rows = slice(k * periphery.tile_rows, (k + 1) * periphery.tile_rows)
  weights = layer.reading.weights[rows]
  num_rows = weights.shape[0]
  last = k == columns.gain.shape[0] - 1  # only the last tile holds the bias
  x, gain = inputs[..., rows], columns.gain[k][None]
  mean, bias = _affine(x, gain * weights, last)
  if periphery.ir_drop:
    mean -= periphery.ir_drop * jnp.reshape(
        gain, (1,) * (mean.ndim - 1) + (-1,)) * _lost(
            x, weights, layer.weight_max, periphery.dac_range, num_rows, last)
  shift = (bias + columns.offset[k])[None]
  full_scale = periphery_lib.full_scale(
      periphery, num_rows, layer.weight_max)
  fixed = {'full_scale': jnp.reshape(full_scale, (1, 1))}
  noisy = layer.reading.variance is not None
  if noisy:
    variance = _with_bias(_affine(
        square(x), jnp.square(gain) * layer.reading.variance[rows], last))
    noise = gaussian.normal(key, (num_steps,) + mean.shape[-2:])
  if inputs.ndim == 2:
    fixed['line'] = mean + shift
    if not noisy:
      return {}, {}, fixed
    return {}, {'noise': noise}, fixed | {
        'spread': read_noise.safe_sqrt(variance)}
  if noisy:
    mean = read_noise.add_noise(mean, variance, noise)
  return {'mean': mean}, {}, fixed | {'shift': shift}


def _digital(adc_bits, steps, noise, fixed):
  """Returns the digital outputs of one time step; elementwise."""
  tiles, factor = fixed
  total = 0.0
  for step, draws, own in zip(steps, noise, tiles):
    total += _converted(adc_bits, step | draws | own)
  return factor * total


def _converted(adc_bits, part):
  """Returns the digital outputs of one tile at one time step."""
  y = part['mean'] + part['shift'] if 'mean' in part else part['line']
  if 'noise' in part:
    y = y + part['spread'] * part['noise']
  return periphery_lib.convert(y, part['full_scale'], bits=adc_bits)


def _affine(inputs, weights, last):
  """Returns x w [..., N, O] and the bias [O], 0 but for the last tile."""
  bias = weights[-1] if last else jnp.zeros_like(weights[0])
  matrix = weights[:-1] if last else weights
  # One axis of rows: for two, XLA transposes the gradient's contraction.
  num_rows = math.prod(inputs.shape[:-1])
  rows = linalg.matmul(
      inputs.reshape(num_rows, inputs.shape[-1]), matrix)
  return rows.reshape(inputs.shape[:-1] + rows.shape[-1:]), bias


def _with_bias(product_and_bias):
  """Returns x w + b, [..., O]."""
  y, bias = product_and_bias
  return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def wire_loss(a: jax.Array) -> jax.Array:
  """Returns c = a (a (0.05 a - 0.2) + 0.5), the fraction lost to the wire.

  Source: Rasch et al., 2023 (arXiv:2302.08469), as in aihwkit.

  Args:
    a: conductance of the column's cells relative to that of its wire.

  Returns:
    The fraction, any shape.
  """
  return a * (a * (0.05 * a - 0.2) + 0.5)


def _lost(inputs, weights, weight_max, x_max, num_rows, last):
  """Returns the loss of a column's output by the voltage drop of its wire.

      a = n / 5.7143e5 sum_j |w_j| |x_j|,   c = a (a (0.05 a - 0.2) + 0.5)
      lost = c sum_j w_j x_j (1 - (1 - j / n)^2)

  with w and x as fractions of their largest values and j the row.
  Source: Rasch et al., 2023 (arXiv:2302.08469), as in aihwkit.
  """
  row = jnp.arange(len(weights), dtype=weights.dtype)[:, None] / num_rows
  load = _with_bias(_affine(jnp.abs(inputs), jnp.abs(weights), last))
  a = num_rows / WIRE_TO_CELL * load / (weight_max * x_max)
  far = weights * (1.0 - jnp.square(1.0 - row))
  return wire_loss(a) * _with_bias(_affine(inputs, far, last))
