"""Drift compensation by digital factors on a layer's outputs.

One factor per layer or per column, from the known mean law and the time since
programming, or measured on the noisy array. To measure, calibration vectors x_b
of random signs give outputs

    y_b  =  (y(x_b) - y(-x_b)) / 2

which are free of the column's offset and of the bias. With two measurements y0
and y0' at the calibration and outputs y now,

    factor  =  level  sum_b y0_b y0'_b  /  sum_b y0_b y_b

where level is the factor at the calibration. Read noise is independent in the
three, so neither sum is biased by it (the mean of |y|, which is often used,
is). The sums run over a column, or over all columns of a layer. Where the
signal is below the noise or the step of the ADC, the factor stays at its level.

Source: global drift compensation of Joshi et al., 2020
(doi:10.1038/s41467-020-16108-9). The estimator is our own.

Axes: I in (bias included, last), O out, B calibration vector.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib

NUM_VECTORS = 64  # of a calibration, each with either sign
MAX_CHANGE = 8.0  # of outputs by drift; beyond it the measurement is discarded


class Baseline(NamedTuple):
  """Outputs of one layer at a calibration, when its factor was known."""

  outputs: jax.Array  # [B, O]
  power: jax.Array  # [O], sum_b of the outputs of two measurements
  level: jax.Array  # [O], the factor then


class Compensation(NamedTuple):
  """A method of drift compensation.

  Attributes:
    measures: whether it measures the array, static.
    factor: `(baseline, outputs [B, O], age_s) -> scalar or [O]`, with the time
      since programming; baseline and outputs are None where nothing is
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


def probe(key: jax.Array, periphery: periphery_lib.Periphery,
          layer: matvec.LayerReading) -> jax.Array:
  """Returns the outputs of a layer to the calibration vectors, [B, O].

  Args:
    key: consumed by the read noise.
    periphery: design; the outputs pass its ADC.
    layer: reading of the layer; its factor is not applied.

  Returns:
    [B, O].
  """
  num_inputs = layer.reading.weights.shape[0] - 1
  signs = periphery.dac_range * (
      2.0 * jax.random.bernoulli(
          jax.random.key(1), jnp.float32(0.5), (NUM_VECTORS, num_inputs)
      ).astype(jnp.float32) - 1.0)
  both = jnp.concatenate([signs, -signs])
  y = matvec.product(key, periphery, layer._replace(factor=1.0), both, 1)[0]
  return 0.5 * (y[:NUM_VECTORS] - y[NUM_VECTORS:])


def calibrate(
    first: jax.Array, second: jax.Array, level: jax.Array
) -> Baseline:
  """Returns the baseline of two measurements at a known factor.

  Args:
    first: [B, O], outputs to the calibration vectors.
    second: [B, O], the same, measured again.
    level: the factor at that time, scalar or [O].

  Returns:
    A `Baseline`.
  """
  power = jnp.sum(first * second, axis=0)
  return Baseline(first, power, jnp.broadcast_to(level, power.shape))


def _measured(total):
  """Returns the constructor of a measured compensation.

  Args:
    total: of sums [O] over B, to one of all columns or to those of each.
  """
  def factor(baseline, outputs, age_s):
    del age_s
    shared = total(jnp.sum(baseline.outputs * outputs, axis=0))
    power = total(baseline.power)
    measurable = ((power > 0) & (shared * MAX_CHANGE > power)
                  & (shared < power * MAX_CHANGE))
    ratio = jnp.where(
        measurable, power / jnp.where(measurable, shared, 1.0), 1.0)
    return baseline.level * ratio

  return lambda clock: Compensation(True, factor, clock)


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
