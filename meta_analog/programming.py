"""Programming a chip from RESET, in open loop and by gradient descent.

No state is assumed that pulses cannot reach. For programming that reads device
by device see `verification`.

Open loop: the number of pulses whose mean effect, by the controller's table,
comes nearest.

Gradient descent asks no device for its conductance. It measures products of
random inputs X [B, I] and lowers their error: with W wanted,

    E  =  Y - X W                             measured minus wanted
    M  <- beta M + (1 - beta) X^T E / B       its gradient, averaged

White inputs make the mean of X^T E / B the error of the weights itself, so a
weight gets the pulses whose mean effect is nearest to -M, and M starts again at
0 where it was pulsed: what was averaged is of a weight that is no more.

Source: Buchel et al., 2022 (arXiv:2305.16647), for the descent on products of
random inputs; the average and its restart are ours.

Axes: P polarity (plus, minus), D device, I in, O out, B input, N iteration.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import controller
from meta_analog import crossbar as xbar
from meta_analog import gaussian
from meta_analog import precise

# (key, crossbar, inputs [B, I], time_s) -> outputs [B, O], in units of weight
MeasureFn = Callable[
    [jax.Array, xbar.Crossbar, jax.Array, jax.Array], jax.Array]


def blank(
    key: jax.Array, device: base.Device, model: base.Device,
    shape: tuple[int, int, int, int], gain_per_uS: jax.Array,
    time_s: jax.Array
) -> xbar.Crossbar:
  """Returns a crossbar of fresh devices [P, D, I, O], all RESET at `time_s`."""
  key_make, key_reset = jax.random.split(key)
  crossbar = xbar.program(
      key_make, device, model, jnp.zeros(shape), gain_per_uS, time_s)
  return xbar.reset_devices(
      key_reset, device, model, crossbar, jnp.ones(shape, bool), time_s)


def open_loop(
    key: jax.Array, device: base.Device, model: base.Device,
    crossbar: xbar.Crossbar, wanted_uS: jax.Array, time_s: jax.Array,
    reference_s: jax.Array, *, num_levels: int
) -> xbar.Crossbar:
  """Returns the crossbar after one train of pulses on each pair.

  Args:
    key: consumed.
    device: the technology; its maximum of pulses is at least num_levels / D.
    model: the technology without noise.
    crossbar: state, usually `blank`.
    wanted_uS: [I, O], differences sum_d G+ - sum_d G-.
    time_s: chip time of the pulses.
    reference_s: chip time that the differences are wanted for.
    num_levels: K, most pulses of one pair, static.

  Returns:
    New `Crossbar`.
  """
  believed_uS = controller.believe(model, crossbar, reference_s)
  missing_uS = wanted_uS - controller.difference(believed_uS)
  num_pulses = controller.nearest_pulses(
      model, crossbar, crossbar.gain_per_uS * missing_uS, time_s, reference_s,
      num_levels)
  return xbar.pulse(key, device, model, crossbar, num_pulses, time_s)


class Descent(NamedTuple):
  """Settings of gradient descent on measured products; all traced."""

  decay: jax.Array | float = 0.9  # beta, per iteration
  threshold: jax.Array | float = 0.9  # of the first step's mean, for one pulse
  interval_s: jax.Array | float = 1.0  # from a write to the next products


def check(descent: Descent, *, num_iterations: int, num_inputs: int) -> None:
  """Raises ValueError at the first value that cannot be.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for field, value in (('num_iterations', num_iterations),
                       ('num_inputs', num_inputs)):
    if not math.isfinite(value) or value != int(value) or value < 1:
      raise ValueError(f'{field} = {value}: must be a whole number, at least 1')
  if not 0 <= descent.decay < 1:
    raise ValueError(f'decay = {descent.decay}: must be at least 0 and below 1')
  if not 0 < descent.threshold < math.inf:
    raise ValueError(
        f'threshold = {descent.threshold}: must be greater than 0')
  if not 0 <= descent.interval_s < math.inf:
    raise ValueError(f'interval_s = {descent.interval_s}: must be at least 0')


def products(device: base.Device) -> MeasureFn:
  """Returns how to measure products on the bare array, read fresh for each.

  Of independent Gaussian devices, drawn by the law of their sum.
  """
  def measure_fn(key, crossbar, inputs, time_s):
    mean_uS, sigma_uS = device.read_stats(crossbar.devices, time_s)
    variance = jnp.sum(jnp.square(sigma_uS), axis=(0, 1))
    deviation = jnp.sqrt(precise.matmul(jnp.square(inputs), variance))
    currents = precise.matmul(inputs, controller.difference(mean_uS))
    noise = gaussian.normal(key, currents.shape)
    return crossbar.gain_per_uS * (currents + deviation * noise)

  return measure_fn


def gradient_descent(
    key: jax.Array, device: base.Device, model: base.Device,
    crossbar: xbar.Crossbar, wanted_w: jax.Array, measure_fn: MeasureFn,
    descent: Descent, time_s: jax.Array, reference_s: jax.Array, *,
    num_iterations: int, num_inputs: int, num_levels: int = 1
) -> tuple[xbar.Crossbar, base.Info]:
  """Returns the crossbar after gradient descent on measured products.

  Args:
    key: consumed.
    device: the technology; its maximum of pulses is at least num_levels / D.
    model: the technology without noise.
    crossbar: state, usually after `open_loop`.
    wanted_w: [I, O], weights.
    measure_fn: see `products`.
    descent: settings.
    time_s: chip time of the first products.
    reference_s: chip time that the weights are wanted for.
    num_iterations: N, static.
    num_inputs: B, random inputs in each iteration, static.
    num_levels: most pulses of one pair in one iteration, static.

  Returns:
    New `Crossbar`, and 'error' [N + 1], the root mean square error of the
    products before each write and after the last, relative to that of the
    wanted products; 'num_pulses' [N].
  """
  def look(key, crossbar, time_s):
    key_inputs, key_noise = jax.random.split(key)
    inputs = gaussian.normal(key_inputs, (num_inputs, wanted_w.shape[0]))
    wanted = precise.matmul(inputs, _wanted_now(
        model, crossbar, wanted_w, time_s, reference_s))
    error = measure_fn(key_noise, crossbar, inputs, time_s) - wanted
    size = jnp.sqrt(jnp.mean(jnp.square(error)) / jnp.mean(jnp.square(wanted)))
    return precise.matmul(inputs.T, error) / num_inputs, size

  def body(carry, i):
    crossbar, mean = carry
    key_look, key_pulse = jax.random.split(jax.random.fold_in(key, i))
    now_s = time_s + i * descent.interval_s
    gradient, error = look(key_look, crossbar, now_s)
    mean = descent.decay * mean + (1.0 - descent.decay) * gradient
    num_pulses = controller.nearest_pulses(
        model, crossbar, -mean, now_s, reference_s, num_levels,
        descent.threshold)
    crossbar = xbar.pulse(key_pulse, device, model, crossbar, num_pulses, now_s)
    mean = jnp.where(num_pulses == 0, mean, 0.0)
    return (crossbar, mean), (error, jnp.sum(jnp.abs(num_pulses)))

  (crossbar, _), (errors, counts) = jax.lax.scan(
      body, (crossbar, jnp.zeros_like(wanted_w)), jnp.arange(num_iterations))
  last = look(jax.random.fold_in(key, num_iterations), crossbar,
              time_s + num_iterations * descent.interval_s)[1]
  return crossbar, {'error': jnp.append(errors, last), 'num_pulses': counts}


def _wanted_now(model, crossbar, wanted_w, time_s, reference_s):
  """Returns the weights that drift, by its mean law, to those wanted."""
  now_uS, then_uS = (
      jnp.sum(controller.believe(model, crossbar, t), axis=(0, 1))
      for t in (time_s, reference_s))
  return wanted_w * now_uS / jnp.maximum(then_uS, 1e-6)
