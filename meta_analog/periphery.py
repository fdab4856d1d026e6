"""What surrounds a crossbar: converters, columns, tiles, wires.

A product, from digital inputs to digital outputs:

    x   = DAC(inputs)                                 rounded, limited
    y_k = g_k (x_k W_k (1 - IR drop) + noise) + o_k   tile k of the rows
    y   = factor * sum_k ADC(y_k)                     rounded, limited, digital

W is what a presentation reads (`crossbar.read`); gain g and offset o of every
column differ from chip to chip; the factor undoes drift.

Axes: T time step, N sample, I in (bias included, last), O out, K tile of rows.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import crossbar as xbar
from meta_analog import fresh_noise
from meta_analog import gaussian
from meta_analog import lif
from meta_analog import precise
from meta_analog import quantize

EXACT_BITS = 32  # a converter as fine as float32 itself
# Rows of a unit-weight column whose wire resists as much as the cell conducts.
# Source: aihwkit, rpu_forward_backward_pass, Gw / g_max (Rasch et al., 2023).
WIRE_TO_CELL = 5.7143e5


class Columns(NamedTuple):
  """What is particular to the columns of one layer on one chip."""

  gain: jax.Array  # [K, O], 1 for a perfect column
  offset: jax.Array  # [K, O], in units of weight times input


class View(NamedTuple):
  """One layer as a presentation sees it."""

  reading: xbar.Reading
  columns: Columns
  weight_max: jax.Array  # scalar, weight of the largest difference of a pair
  factor: jax.Array | float  # scalar or [O], digital drift compensation


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
      output, static; columns do not see each other, so it only counts tiles.
    gain_std: deviation of the columns' gain, relative.
    offset_std: deviation of the columns' offset, in units of weight_max.
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
  limited = quantize.saturate(x, -full_scale, full_scale)
  if bits >= EXACT_BITS:
    return limited
  if bits == 1:
    return quantize.straight_through(
        jnp.where(x >= 0, full_scale, -full_scale), limited)
  step = full_scale / (2.0 ** (bits - 1) - 1.0)
  return quantize.straight_through(step * jnp.round(limited / step), limited)


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
  return Columns(jnp.ones(shape), jnp.zeros(shape))


def drive(periphery: Periphery, inputs: jax.Array) -> jax.Array:
  """Returns what the DAC drives rows by; spikes need none."""
  return convert(inputs, jnp.float32(periphery.dac_range),
                 bits=periphery.dac_bits)


def product(
    key: jax.Array, periphery: Periphery, view: View, inputs: jax.Array,
    num_steps: int, *, spikes: bool = False
) -> jax.Array:
  """Returns the digital outputs of one layer at every time step, [T, N, O].

  The arguments are those of `source`.
  """
  return lif.currents(
      source(key, periphery, view, inputs, num_steps, spikes=spikes))


def source(
    key: jax.Array, periphery: Periphery, view: View, inputs: jax.Array,
    num_steps: int, *, spikes: bool = False
) -> lif.Source:
  """Returns what the digital outputs of one layer are made of.

  Args:
    key: consumed by the read noise that is fresh in every product.
    periphery: design.
    view: of the layer.
    inputs: [N, I - 1], constant over time, or [T, N, I - 1].
    num_steps: T.
    spikes: whether every input is 0 or 1, static.

  Returns:
    A `lif.Source` of currents [T, N, O].
  """
  square = fresh_noise.square_of_spikes if spikes else jnp.square
  parts = [_tile(jax.random.fold_in(key, k), periphery, view, inputs, square, k,
                 num_steps) for k in range(view.columns.gain.shape[0])]
  steps, noise, fixed = zip(*parts)
  return lif.Source(
      functools.partial(_digital, periphery.adc_bits), steps, noise,
      (fixed, jnp.reshape(view.factor, (1, -1))), num_steps)


def _tile(key, periphery, view, inputs, square, k, num_steps):
  """Returns what outputs of tile k are made of: per step, its noise, fixed.

  The analog output of a column is given in the form that costs the time loop
  least, forwards and backwards: 'line' where it is constant, with 'spread'
  times 'noise', or else 'mean', its noise in it, before the 'shift'. The
  column's gain is in the weights: for the loop, XLA would draw it anew for
  every entry.
  """
  columns = view.columns
  rows = slice(k * periphery.tile_rows, (k + 1) * periphery.tile_rows)
  weights = view.reading.weights[rows]
  num_rows = weights.shape[0]
  last = k == columns.gain.shape[0] - 1  # only the last tile holds the bias
  x, gain = inputs[..., rows], columns.gain[k][None]
  mean, bias = _affine(x, gain * weights, last)
  if periphery.ir_drop:
    mean -= periphery.ir_drop * jnp.reshape(
        gain, (1,) * (mean.ndim - 1) + (-1,)) * _lost(
            x, weights, view.weight_max, periphery.dac_range, num_rows, last)
  shift = (bias + columns.offset[k])[None]
  reach = min(periphery.adc_range, float(num_rows))
  full_scale = reach * periphery.dac_range * view.weight_max
  fixed = {'full_scale': jnp.reshape(full_scale, (1, 1))}
  noisy = view.reading.variance is not None
  if noisy:
    variance = _with_bias(_affine(
        square(x), jnp.square(gain) * view.reading.variance[rows], last))
    noise = gaussian.normal(key, (num_steps,) + mean.shape[-2:])
  if inputs.ndim == 2:
    fixed['line'] = mean + shift
    if not noisy:
      return {}, {}, fixed
    return {}, {'noise': noise}, fixed | {
        'spread': fresh_noise.safe_sqrt(variance)}
  if noisy:
    mean = fresh_noise.disturbed(mean, variance, noise)
  return {'mean': mean}, {}, fixed | {'shift': shift}


def _digital(adc_bits, steps, noise, fixed):
  """Returns the digital outputs of one time step; elementwise."""
  tiles, factor = fixed
  total = 0.0
  for step, draws, own in zip(steps, noise, tiles):
    part = step | draws | own
    y = part['mean'] + part['shift'] if 'mean' in part else part['line']
    if 'noise' in part:
      y = y + part['spread'] * part['noise']
    total += convert(y, part['full_scale'], bits=adc_bits)
  return factor * total


def _affine(inputs, weights, last):
  """Returns x w [..., N, O] and the bias [O]; only the last tile has one."""
  bias = weights[-1] if last else jnp.zeros_like(weights[0])
  matrix = weights[:-1] if last else weights
  # One axis of rows: XLA would transpose a contraction over two, backwards.
  num_rows = math.prod(inputs.shape[:-1])
  rows = precise.matmul(
      inputs.reshape(num_rows, inputs.shape[-1]), matrix)
  return rows.reshape(inputs.shape[:-1] + rows.shape[-1:]), bias


def _with_bias(product_and_bias):
  """Returns x w + b, [..., O]."""
  y, bias = product_and_bias
  return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def wire_loss(a: jax.Array) -> jax.Array:
  """Returns c = a (a (0.05 a - 0.2) + 0.5), the share lost to the wire.

  Source: Rasch et al., 2023 (arXiv:2302.08469), as in aihwkit.

  Args:
    a: load of the column over what its wire conducts.

  Returns:
    The share, any shape.
  """
  return a * (a * (0.05 * a - 0.2) + 0.5)


def _lost(inputs, weights, weight_max, x_max, num_rows, last):
  """Returns what the voltage drop along a column's wire takes from it.

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
