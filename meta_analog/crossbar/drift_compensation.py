"""Drift compensation by digital factors on a layer's outputs.

One factor per layer or per column, from the known mean law and the time since
programming, or measured on the noisy array. To measure, calibration vectors x_b
of random signs on few rows give outputs of each tile k

    y_bk  =  (ADC(y_k(x_b)) - ADC(y_k(-x_b))) / 2

which are free of the column's offset and of the bias. With the outputs p of the
controller's estimate, which has no noise, y0 at the calibration and y now,

    factor  =  level  sum_bk p_bk y0_bk  /  sum_bk p_bk y_bk

where level is the factor at the calibration. Each sum is linear in what was
read, so no noise biases it, be it shared by the two reads or not: with outputs
that were read in the place of p, or the mean of |y|, which is often used, the
square of the noise and of the rounding enters. So many rows are driven that no
output comes near the full scale of the ADC, by the estimate: one that clips
flattens the baseline more than outputs that drifted. The sums run over a
column, or over all columns of a layer.

The inverse of a noisy sum is too large by its relative variance. That of the
ratio is measured with it, by the scatter of single outputs,

    error^2  =  max(1, B / I) sum (p (y0 - y power / shared))^2 / power^2

with power and shared the two sums, and B / I for vectors that drive the same
rows and so share frozen noise. Where the error exceeds `MAX_ERROR`, the factor
is the level, continued by the mean law of drift.

Source: global drift compensation of Joshi et al., 2020
(doi:10.1038/s41467-020-16108-9). The estimator is our own: an instrumental
variable, p, and the robust error of White, 1980 (doi:10.2307/1912934).

Axes: I in (bias included, last), O out, B calibration vector, K tile of rows,
R rows of a tile.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import linalg
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib

NUM_VECTORS = 64  # of a calibration, each with either sign
MAX_ERROR = 0.05  # of a measured factor, relative; its bias is 0.25 % then
MEASURED = ('global', 'column')  # names of those that measure the array
HEADROOM = 0.8  # of the ADC's full scale that estimated outputs may take


class Baseline(NamedTuple):
  """Calibration of one layer at a time when its factor was known."""

  inputs: jax.Array  # [B, I - 1], calibration vectors
  expected: jax.Array  # [B, K, O], outputs of the controller's estimate
  outputs: jax.Array  # [B, K, O], as measured
  level: jax.Array  # [O], the factor then
  law: jax.Array  # scalar, the factor of the mean law then


class Compensation(NamedTuple):
  """A method of drift compensation.

  Attributes:
    measures: whether it measures the array, static.
    factor: `(baseline, outputs [B, K, O], age_s) -> scalar or [O]`, with the
      time since programming; baseline and outputs are None where nothing is
      measured.
    clock: time since programming, s, to the factor of the mean law.
  """

  measures: bool
  factor: Callable[..., jax.Array]
  clock: Callable[[jax.Array], jax.Array]


def make(name: str, clock: Callable[[jax.Array], jax.Array]) -> Compensation:
  """Returns a drift compensation by name.

  'none' leaves the drift; 'clock' assumes the known mean drift since
  programming; 'global' and 'column' measure, by layer and by column.

  Args:
    name: of COMPENSATIONS.
    clock: time since programming, s, to the factor of the mean drift.

  Returns:
    `Compensation`.

  Raises:
    ValueError: if the name is unknown.
  """
  if name not in COMPENSATIONS:
    raise ValueError(f'drift_compensation = {name!r}: must be one of '
                     f'{", ".join(COMPENSATIONS)}')
  return COMPENSATIONS[name](clock)


def check_range(periphery: periphery_lib.Periphery) -> None:
  """Checks that one row and the bias always fit into the ADC's range.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  most = ((1.0 + _drive(periphery)) * (1.0 + 4.0 * periphery.gain_std)
          + 4.0 * periphery.offset_std)
  least = most / (HEADROOM * periphery.dac_range)
  if not periphery.adc_range >= least:
    raise ValueError(
        f'adc_range = {periphery.adc_range}: must be at least {least:.3g} '
        'where drift is measured, so that one row and the bias fit')
  if periphery.adc_bits < 4:
    raise ValueError(f'adc_bits = {periphery.adc_bits}: must be at least 4 '
                     'where drift is measured')


def calibration_vectors(
    periphery: periphery_lib.Periphery, weights: jax.Array,
    weight_max: jax.Array
) -> jax.Array:
  """Returns vectors of random signs on as many rows as the ADC has range for.

  Of the rows of a tile, in random order, the first are driven, for which

      |bias| + sum_j max_o |w_jo| |x_j|  <=  HEADROOM full scale

  whatever the signs, less four standard deviations of gains and offsets.

  Args:
    periphery: design.
    weights: [I, O], of the controller's estimate.
    weight_max: weight of the largest difference of a pair.

  Returns:
    [B, I - 1].
  """
  num_rows = weights.shape[0]
  tile_rows = min(periphery.tile_rows, num_rows)
  tiles = periphery_lib.num_tiles(num_rows, tile_rows)
  largest = jnp.max(jnp.abs(weights), axis=1)
  scale = jnp.stack([
      periphery_lib.full_scale(periphery, rows, weight_max)
      for rows in [tile_rows] * (tiles - 1)
      + [num_rows - (tiles - 1) * tile_rows]])
  # All rows of a small tile fit by design.
  scale = jnp.minimum(scale, HEADROOM * periphery.adc_range
                      * periphery.dac_range * weight_max)
  left = ((scale - 4.0 * periphery.offset_std * weight_max)
          / (1.0 + 4.0 * periphery.gain_std))
  left = left.at[-1].add(-largest[-1])
  each = jnp.zeros(tiles * tile_rows, jnp.float32).at[:num_rows - 1].set(
      _drive(periphery) * largest[:-1]).reshape(tiles, tile_rows)
  rng = np.random.default_rng(0)
  shape = (NUM_VECTORS, tiles, tile_rows)
  order = np.argsort(rng.random(shape), axis=-1)
  total = jnp.cumsum(
      jnp.take_along_axis(each[None], order, axis=-1), axis=-1)
  driven = jnp.take_along_axis(
      total <= left[None, :, None], np.argsort(order, axis=-1), axis=-1)
  signs = rng.choice(np.float32([-1.0, 1.0]), shape)
  vectors = _drive(periphery) * jnp.where(driven, signs, 0.0)
  return vectors.reshape(NUM_VECTORS, -1)[:, :num_rows - 1]


def probe(key: jax.Array, periphery: periphery_lib.Periphery,
          layer: matvec.LayerReading, vectors: jax.Array) -> jax.Array:
  """Returns the outputs of a layer to the calibration vectors.

  Args:
    key: consumed by the read noise.
    periphery: design; the outputs pass its ADC.
    layer: reading of the layer; its factor is not applied.
    vectors: [B, I - 1].

  Returns:
    [B, K, O].
  """
  both = jnp.concatenate([vectors, -vectors])
  y = matvec.tile_products(key, periphery, layer, both)
  return jnp.moveaxis(0.5 * (y[:, :len(vectors)] - y[:, len(vectors):]), 0, 1)


def calibrate(
    key: jax.Array, periphery: periphery_lib.Periphery,
    layer: matvec.LayerReading, weights: jax.Array, level: jax.Array,
    law: jax.Array
) -> Baseline:
  """Returns the baseline of a layer, measured now.

  Args:
    key: consumed by the read noise.
    periphery: design.
    layer: reading of the layer.
    weights: [I, O], of the controller's estimate now.
    level: the factor now, scalar or [O].
    law: the factor of the mean law now, scalar.

  Returns:
    A `Baseline`.
  """
  vectors = calibration_vectors(periphery, weights, layer.weight_max)
  rows = periphery.tile_rows
  expected = jnp.stack([
      linalg.matmul(vectors[:, i:i + rows],
                    weights[i:i + rows][:vectors.shape[1] - i])
      for i in range(0, len(weights), rows)], axis=1)
  outputs = probe(key, periphery, layer, vectors)
  return Baseline(vectors, expected, outputs, jnp.broadcast_to(
      level, weights.shape[1:]), law)


def _drive(periphery):
  """Returns the input of a driven row: a spike, or less by a small DAC."""
  return min(periphery.dac_range, 1.0)


def _measured(total):
  """Returns the constructor of a measured compensation.

  Args:
    total: of sums [O], to one of all columns or to those of each.
  """
  def make_factor(clock):
    def factor(baseline, outputs, age_s):
      over = lambda terms: total(jnp.sum(terms, axis=(0, 1)))
      before, p = baseline.outputs, baseline.expected
      power, shared = over(p * before), over(p * outputs)
      ratio = power / jnp.where(shared > 0, shared, 1.0)
      overlap = max(1.0, len(p) / baseline.inputs.shape[1])
      error = jnp.sqrt(overlap * over(
          jnp.square(p * (before - jnp.reshape(ratio, (1, 1, -1)) * outputs))))
      measurable = (shared > 0) & (error < MAX_ERROR * power)
      return baseline.level * jnp.where(
          measurable, ratio, clock(age_s) / baseline.law)

    return factor

  return lambda clock: Compensation(True, make_factor(clock), clock)


def _none(clock):
  del clock
  return Compensation(False, lambda baseline, outputs, age_s: jnp.float32(1.0),
                      lambda age_s: jnp.float32(1.0))


def _clock(clock):
  return Compensation(
      False, lambda baseline, outputs, age_s: jnp.asarray(clock(age_s)),
      clock)


COMPENSATIONS = {'none': _none, 'clock': _clock, 'global': _measured(jnp.sum),
                 'column': _measured(lambda x: x)}
