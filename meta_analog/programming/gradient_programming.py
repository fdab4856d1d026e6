"""Gradient programming: descent on the error of measured products.

Programming that never reads a single device; for programming that reads device
by device see `program_verify`. It measures products of random inputs X [B, I]
and lowers their error. With target weights W,

    E  =  Y - X W                             measured minus target
    M  <- beta M + (1 - beta) X^T E / B       its gradient, averaged

White inputs make the mean of X^T E / B the error of the weights itself, so a
weight gets the pulses whose mean effect is nearest to -M, and M is set to 0
where it was pulsed: the average was that of another weight.

Source: Buchel et al., 2022 (arXiv:2305.16647), for the descent on products of
random inputs; the average and its restart are our own.

`make_program_fn` programs a whole chip: from RESET, one open-loop train of
pulses on each pair, then rounds of random inputs through the chip's own
periphery, its ADC included, and pulses that lower their error.

Axes: P polarity (plus, minus), D device, I in, O out, B input, N iteration.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import linalg
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response

# (key, crossbar, inputs [B, I]) -> outputs [B, O] now, in units of weight
MeasureFn = Callable[[jax.Array, array.Crossbar, jax.Array], jax.Array]


class Descent(NamedTuple):
  """Settings of gradient descent on measured products; all traced."""

  decay: jax.Array | float = 0.9  # beta, per iteration
  threshold: jax.Array | float = 0.9  # of the first step's mean, for one pulse
  interval_s: jax.Array | float = 1.0  # from a write to the next products


def bare_products(device: types.Device) -> MeasureFn:
  """Returns the measurement of products on the array without its periphery.

  Every product reads the devices anew: independent Gaussian draws, whose sum is
  drawn.
  """
  def measure_fn(key, crossbar, inputs):
    mean_uS, sigma_uS = device.read_stats(crossbar.devices, 0.0)
    variance = jnp.sum(jnp.square(sigma_uS), axis=(0, 1))
    sigma = jnp.sqrt(linalg.matmul(jnp.square(inputs), variance))
    currents = linalg.matmul(inputs, controller.difference(mean_uS))
    noise = gaussian.normal(key, currents.shape)
    return crossbar.gain_per_uS * (currents + sigma * noise)

  return measure_fn


def gradient_descent(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    crossbar: array.Crossbar, target_w: jax.Array, measure_fn: MeasureFn,
    descent: Descent, horizon_s: jax.Array, *, num_iterations: int,
    num_inputs: int, num_levels: int = 1
) -> tuple[array.Crossbar, types.Info]:
  """Returns the crossbar after gradient descent on measured products.

  Args:
    key: consumed.
    device: the technology; its maximum of pulses is at least num_levels / D.
    noise_free: the technology without noise.
    crossbar: state, usually after `initial_programming.open_loop`.
    target_w: [I, O], weights.
    measure_fn: see `bare_products`.
    descent: settings.
    horizon_s: from now, the first products, to the time that the targets are
      for.
    num_iterations: N, static.
    num_inputs: B, random inputs in each iteration, static.
    num_levels: most pulses of one pair in one iteration, static.

  Returns:
    New `Crossbar`, as it is at the last products, N interval_s after the first;
    and 'error' [N + 1], the root mean square error of the
    products before each write and after the last, relative to that of the
    target products; 'num_pulses' [N].
  """
  def measure(key, crossbar, i):
    key_inputs, key_noise = jax.random.split(key)
    inputs = gaussian.normal(key_inputs, (num_inputs, target_w.shape[0]))
    target = linalg.matmul(inputs, _targets_now(
        noise_free, crossbar, target_w, horizon_s - i * descent.interval_s))
    error = measure_fn(key_noise, crossbar, inputs) - target
    size = jnp.sqrt(jnp.mean(jnp.square(error)) / jnp.mean(jnp.square(target)))
    return linalg.matmul(inputs.T, error) / num_inputs, size

  def body(carry, i):
    crossbar, mean = carry
    key_measure, key_pulse, key_slow = jax.random.split(
        jax.random.fold_in(key, i), 3)
    crossbar = array.draw_slow(key_slow, crossbar)
    gradient, error = measure(key_measure, crossbar, i)
    mean = descent.decay * mean + (1.0 - descent.decay) * gradient
    num_pulses = pulse_response.nearest_pulses(
        noise_free, crossbar, -mean, horizon_s - i * descent.interval_s,
        num_levels, descent.threshold)
    crossbar = array.pulse(key_pulse, device, noise_free, crossbar, num_pulses)
    crossbar = array.advance(device, noise_free, crossbar, descent.interval_s)
    mean = jnp.where(num_pulses == 0, mean, 0.0)
    return (crossbar, mean), (error, jnp.sum(jnp.abs(num_pulses)))

  (crossbar, _), (errors, counts) = jax.lax.scan(
      body, (crossbar, jnp.zeros_like(target_w)), jnp.arange(num_iterations))
  crossbar = array.draw_slow(
      jax.random.fold_in(key, num_iterations + 1), crossbar)
  last = measure(
      jax.random.fold_in(key, num_iterations), crossbar, num_iterations)[1]
  return crossbar, {'error': jnp.append(errors, last), 'num_pulses': counts}


def _targets_now(noise_free, crossbar, target_w, horizon_s):
  """Returns the weights that drift to the targets by the mean law."""
  now_uS, then_uS = (
      jnp.sum(controller.estimated_uS(noise_free, crossbar, t), axis=(0, 1))
      for t in (0.0, horizon_s))
  return target_w * now_uS / jnp.maximum(then_uS, 1e-6)


# Standard deviations of a random input that fill the range of the DAC.
REACH = 4.0


def make_program_fn(
    descent: Descent,
    periphery: periphery_lib.Periphery,
    span_uS: float,
    fresh_share: float,
    reference_s: float,
    *,
    num_iterations: int,
    num_inputs: int,
    num_levels: int,
    slow: bool = False,
) -> protocols.ProgramFn:
  """Returns gradient programming of a whole array, which ends at time 0.

  Args:
    descent: settings.
    periphery: design; the columns are taken as calibrated.
    span_uS: largest difference of a pair.
    fresh_share: share of the read noise that is new in every product.
    reference_s: date of the target differences, s after 0.
    num_iterations: rounds.
    num_inputs: B, random inputs of a round.
    num_levels: most pulses of a pair in the first train.
    slow: whether reads share slow noise, see `crossbar.slow_noise`.

  Returns:
    A `protocols.ProgramFn`.
  """
  length_s, interval_s = duration_s(descent, num_iterations), descent.interval_s

  def program_fn(key, device, noise_free, targets_uS, gain_per_uS):
    keys = jax.random.split(key, 3)
    fixed = jax.lax.stop_gradient
    target_uS = fixed(controller.difference(targets_uS))
    crossbar = initial_programming.blank(
        keys[0], device, noise_free, targets_uS.shape, fixed(gain_per_uS),
        slow=slow)
    crossbar = initial_programming.open_loop(
        keys[1], device, noise_free, crossbar, target_uS,
        jnp.float32(length_s + reference_s), num_levels=num_levels)
    crossbar = array.advance(device, noise_free, crossbar, interval_s)
    crossbar, _ = gradient_descent(
        keys[2], device, noise_free, crossbar, fixed(gain_per_uS) * target_uS,
        periphery_products(device, periphery, span_uS, fresh_share), descent,
        jnp.float32(length_s - interval_s + reference_s),
        num_iterations=num_iterations, num_inputs=num_inputs)
    crossbar = array.advance(device, noise_free, crossbar, interval_s)
    counts = protocols.count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, jnp.float32(0.0))
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def duration_s(descent: Descent, num_iterations: int) -> float:
  """Returns how long a programming takes, s."""
  return float((num_iterations + 2) * descent.interval_s)


def periphery_products(
    device: types.Device, periphery: periphery_lib.Periphery, span_uS: float,
    fresh_share: float
) -> MeasureFn:
  """Returns the measurement of products through the periphery.

  Every row is driven, that of the bias too; inputs beyond `REACH` are limited
  by the DAC, as outputs are by the ADC.

  Args:
    device: the technology.
    periphery: design.
    span_uS: largest difference of a pair.
    fresh_share: share of the read noise that is new in every product.

  Returns:
    A `gradient_programming.MeasureFn`.
  """
  def measure_fn(key, crossbar, inputs):
    key_read, key_run = jax.random.split(key)
    reading = array.read(key_read, device, crossbar, 0.0, fresh_share)
    # An idle bias row below the driven ones.
    reading = jax.tree.map(lambda x: jnp.pad(x, ((0, 1), (0, 0))), reading)
    num_devices = crossbar.usage.num_pulses.shape[1]
    weight_max = crossbar.gain_per_uS * span_uS * num_devices
    columns = periphery_lib.perfect_columns(*reading.weights.shape,
                                            periphery.tile_rows)
    layer = matvec.LayerReading(reading, columns, weight_max, 1.0)
    scale = periphery.dac_range / REACH
    driven = periphery_lib.drive(periphery, scale * inputs)
    return matvec.product(key_run, periphery, layer, driven, 1)[0] / scale

  return measure_fn
