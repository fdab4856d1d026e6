"""A chip programmed by gradient descent on its own measured products.

From RESET: one open-loop train of pulses on each pair, then rounds of random
inputs through the periphery that the chip computes with, its ADC included, and
pulses that lower their error. See `programming.gradient_descent`.

Axes: P polarity (plus, minus), D device, I in (bias included), O out, B input.
"""

import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import controller
from meta_analog import crossbar as xbar
from meta_analog import periphery as peri
from meta_analog import programming
from meta_analog import writing

REACH = 4.0  # deviations of a random input that fill the range of the DAC


def make(
    descent: programming.Descent,
    periphery: peri.Periphery,
    span_uS: float,
    fresh_share: float,
    reference_s: float,
    *,
    num_iterations: int,
    num_inputs: int,
    num_levels: int,
) -> writing.ProgramFn:
  """Returns the way to program a chip, which ends by time 0.

  Args:
    descent: settings.
    periphery: design; the columns are taken as calibrated.
    span_uS: largest difference of a pair.
    fresh_share: share of the read noise that is new in every product.
    reference_s: chip time that the differences are wanted for.
    num_iterations: rounds.
    num_inputs: B, random inputs of a round.
    num_levels: most pulses of a pair in the first train.

  Returns:
    A `writing.ProgramFn`.
  """
  start_s = -duration_s(descent, num_iterations)

  def program_fn(key, device, model, targets_uS, gain_per_uS):
    keys = jax.random.split(key, 3)
    fixed = jax.lax.stop_gradient
    wanted_uS = fixed(controller.difference(targets_uS))
    crossbar = programming.blank(
        keys[0], device, model, targets_uS.shape, fixed(gain_per_uS),
        jnp.float32(start_s))
    crossbar = programming.open_loop(
        keys[1], device, model, crossbar, wanted_uS, jnp.float32(start_s),
        jnp.float32(reference_s), num_levels=num_levels)
    crossbar, _ = programming.gradient_descent(
        keys[2], device, model, crossbar, fixed(gain_per_uS) * wanted_uS,
        products(device, periphery, span_uS, fresh_share), descent,
        jnp.float32(start_s + descent.interval_s), jnp.float32(reference_s),
        num_iterations=num_iterations, num_inputs=num_inputs)
    counts = writing.count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, jnp.float32(0.0))
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def duration_s(descent: programming.Descent, num_iterations: int) -> float:
  """Returns how long a programming takes, s."""
  return float((num_iterations + 2) * descent.interval_s)


def products(
    device: base.Device, periphery: peri.Periphery, span_uS: float,
    fresh_share: float
) -> programming.MeasureFn:
  """Returns how to measure products through the periphery.

  Every row is driven, that of the bias too; inputs beyond `REACH` are limited
  by the DAC, as outputs are by the ADC.

  Args:
    device: the technology.
    periphery: design.
    span_uS: largest difference of a pair.
    fresh_share: share of the read noise that is new in every product.

  Returns:
    A `programming.MeasureFn`.
  """
  def measure_fn(key, crossbar, inputs, time_s):
    key_read, key_run = jax.random.split(key)
    reading = xbar.read(key_read, device, crossbar, time_s, fresh_share)
    # An idle bias row below the driven ones.
    reading = jax.tree.map(lambda x: jnp.pad(x, ((0, 1), (0, 0))), reading)
    num_devices = crossbar.wear.num_pulses.shape[1]
    weight_max = crossbar.gain_per_uS * span_uS * num_devices
    columns = peri.perfect_columns(*reading.weights.shape, periphery.tile_rows)
    view = peri.View(reading, columns, weight_max, 1.0)
    scale = periphery.dac_range / REACH
    driven = peri.drive(periphery, scale * inputs)
    return peri.product(key_run, periphery, view, driven, 1)[0] / scale

  return measure_fn
