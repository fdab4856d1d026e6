"""Periphery of a crossbar: converters, columns, tiles and wires.

A matrix-vector product, from digital inputs to digital outputs:

    x   = DAC(inputs)                                 rounded, limited
    y_k = g_k (x_k W_k (1 - IR drop) + noise) + o_k   tile k of the rows
    y   = factor * sum_k ADC(y_k)                     rounded, limited, digital

W is what one forward pass reads (`array.read`); gain g and offset o of every
column differ from chip to chip; the factor is the drift compensation.

Axes: T time step, N sample, I in (bias included, last), O out, K tile of rows.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import dtypes
from meta_analog.core import gaussian
from meta_analog.core import quantization

EXACT_BITS = 32  # a converter as fine as float32 itself


class Columns(NamedTuple):
  """Gain and offset of the columns of one layer on one chip."""

  gain: jax.Array  # [K, O], 1 for a perfect column
  offset: jax.Array  # [K, O], in units of weight times input


class Periphery(NamedTuple):
  """Design of the periphery, the same for every layer.

  Attributes:
    dac_bits: resolution of the inputs, 1 to 32; 32 is exact.
    dac_range: largest input.
    adc_bits: resolution of a column's output, 1 to 32; 32 is exact.
    adc_range: largest output, in units of weight_max times the largest input,
      and never more than all rows of a tile can give.
    tile_rows: most rows of a tile, static.
    tile_columns: most columns of a tile, one for each polarity and device of an
      output, static; columns are independent, so it only counts tiles.
    gain_std: standard deviation of the columns' gain, relative.
    offset_std: standard deviation of the columns' offset, in units of
      weight_max.
    ir_drop: 1 for the wires of the source, 0 for perfect wires, static.
  """

  dac_bits: int = EXACT_BITS
  dac_range: float = 1.0
  adc_bits: int = EXACT_BITS
  adc_range: float = 10.0
  tile_rows: int = 256
  tile_columns: int = 256
  gain_std: jax.Array | float = 0.0
  offset_std: jax.Array | float = 0.0
  ir_drop: float = 0.0


@functools.partial(jax.jit, static_argnames='bits')
def convert(x: jax.Array, full_scale: jax.Array, *, bits: int) -> jax.Array:
  """Returns x through a converter: rounded to a level and limited.

      step = full_scale / (2^(b - 1) - 1),  k = round(x / step), |k step| <= fs

  One bit is the sign: -full_scale or full_scale. The gradient is 1 inside the
  range and 0 outside (straight-through). 32 bits only limit.
  Source: 2^b - 2 levels about zero as in the evaluation preset of Rasch et
  al., 2023 (254 levels for 8 bits).

  Args:
    x: any shape.
    full_scale: positive, broadcastable to x.
    bits: 1 to 32, static.

  Returns:
    The converted array.
  """
  x, full_scale = dtypes.float32((x, full_scale))
  limited = quantization.saturate(x, -full_scale, full_scale)
  if bits >= EXACT_BITS:
    return limited
  if bits == 1:
    return quantization.straight_through(
        jnp.where(x >= 0, full_scale, -full_scale), limited)
  step = full_scale / (2.0 ** (bits - 1) - 1.0)
  return quantization.straight_through(step * jnp.round(limited / step),
                                       limited)


def full_scale(
    periphery: Periphery, num_rows: int, weight_max: jax.Array
) -> jax.Array:
  """Returns the largest output of a column of a tile, weight times input.

  Args:
    periphery: design.
    num_rows: of the tile, with the bias where it holds that.
    weight_max: weight of the largest difference of a pair.

  Returns:
    A scalar.
  """
  reach = min(periphery.adc_range, float(num_rows))
  return reach * periphery.dac_range * weight_max


def num_tiles(number: int, limit: int) -> int:
  """Returns how many tiles so many rows, or columns, take."""
  return -(-number // limit)


def make_columns(
    key: jax.Array, periphery: Periphery, num_rows: int, num_outputs: int,
    weight_max: jax.Array
) -> Columns:
  """Returns the columns of one layer of a fresh chip.

  Args:
    key: consumed.
    periphery: design.
    num_rows: I.
    num_outputs: O.
    weight_max: weight of the largest difference of a pair.

  Returns:
    `Columns`.
  """
  shape = (num_tiles(num_rows, periphery.tile_rows), num_outputs)
  spread = gaussian.normal(key, (2,) + shape)
  return Columns(gain=1.0 + periphery.gain_std * spread[0],
                 offset=periphery.offset_std * weight_max * spread[1])


def perfect_columns(num_rows: int, num_outputs: int, tile_rows: int) -> Columns:
  """Returns columns of gain 1 without offset."""
  shape = (num_tiles(num_rows, tile_rows), num_outputs)
  return Columns(jnp.ones(shape, jnp.float32),
                 jnp.zeros(shape, jnp.float32))


def drive(periphery: Periphery, inputs: jax.Array) -> jax.Array:
  """Returns inputs [..., I] as the DAC drives the rows; spikes need none."""
  return convert(inputs, jnp.float32(periphery.dac_range),
                 bits=periphery.dac_bits)
