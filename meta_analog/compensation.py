"""Drift compensation: one digital factor on a layer's outputs, or one a column.

Axes: I in (bias included, last), O out, B calibration vector.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import periphery as peri

NUM_VECTORS = 64  # of a calibration


class Compensation(NamedTuple):
  """A way to undo drift by one digital factor on a layer's outputs.

  Attributes:
    measure: `(key, periphery, view) -> [O]`, what the controller measures, or
      None where it measures nothing.
    factor: `(baseline [O], measured [O], time_s) -> scalar or [O]`.
  """

  measure: Callable[[jax.Array, peri.Periphery, peri.View], jax.Array] | None
  factor: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def make(
    name: str, clock: Callable[[jax.Array], jax.Array]
) -> Compensation:
  """Returns a drift compensation by name.

  'none' leaves the drift; 'clock' trusts the known mean drift since
  programming; 'global' and 'column' measure, as one factor a layer or one a
  column, how much the outputs to known vectors have shrunk since a baseline:

      factor = mean |y(baseline)| / mean |y(now)|

  Source: global drift compensation of Joshi et al., 2020
  (doi:10.1038/s41467-020-16108-9), with vectors of random signs in place of
  unit vectors, so that the outputs fill the range of the ADC.

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


def measure_columns(
    key: jax.Array, periphery: peri.Periphery, view: peri.View
) -> jax.Array:
  """Returns mean |y| of every column for vectors of random signs, [O].

  Args:
    key: consumed by the read noise.
    periphery: design; the outputs pass its ADC.
    view: of the layer; its factor is not applied.

  Returns:
    [O], at least 1e-9.
  """
  num_inputs = view.reading.weights.shape[0] - 1
  signs = periphery.dac_range * jax.random.rademacher(
      jax.random.key(1), (NUM_VECTORS, num_inputs), jnp.float32)
  raw = view._replace(factor=1.0)
  y = peri.product(key, periphery, raw, signs, 1)[0]
  return jnp.maximum(jnp.mean(jnp.abs(y), axis=0), 1e-9)


def _none(clock):
  del clock
  return Compensation(None, lambda baseline, now, time_s: jnp.ones(()))


def _clock(clock):
  return Compensation(
      None, lambda baseline, now, time_s: jnp.asarray(clock(time_s)))


def _global(clock):
  del clock
  return Compensation(
      measure_columns,
      lambda baseline, now, time_s: jnp.mean(baseline) / jnp.mean(now))


def _column(clock):
  del clock
  return Compensation(
      measure_columns, lambda baseline, now, time_s: baseline / now)


COMPENSATIONS = {
    'none': _none, 'clock': _clock, 'global': _global, 'column': _column}
