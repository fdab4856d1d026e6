"""Crossbar array of differential pairs: programming, pulses, reads, products.

A weight is the difference of two groups of D devices read in parallel, scaled
by one digital gain per layer:

    w = gain (sum_d G+_d - sum_d G-_d)

Targets come from `mapping`. A weight change is written by pulses on G+ where it
is positive and on G- where it is negative.

Axes: P polarity (plus, minus), D device, I in (bias included, last), O out,
N sample, T time step, K pulse.
"""

from typing import Any
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from meta_analog.core import dtypes
from meta_analog.core import gaussian
from meta_analog.core import linalg
from meta_analog.core import types
from meta_analog.crossbar import device_selection
from meta_analog.crossbar import read_noise
from meta_analog.crossbar import slow_noise


class UsageCounts(NamedTuple):
  """Usage counts since the crossbar was programmed."""

  num_pulses: jax.Array  # [P, D, I, O], not cleared by a RESET
  num_resets: jax.Array  # [P, D, I, O]


class Crossbar(NamedTuple):
  """State of one layer on the chip."""

  devices: Any  # device state, fields [P, D, I, O]
  # The controller's estimate of it: the state of noise-free devices that are
  # programmed, pulsed and RESET alike.
  estimate: Any
  gain_per_uS: jax.Array  # scalar, weight of one microsiemens
  counter: jax.Array  # [P, I, O], the next device to be pulsed, 0 .. D - 1
  usage: UsageCounts
  # Read noise that reads close in time share; None: they are independent.
  slow: slow_noise.State | None = None


class Reading(NamedTuple):
  """Weights of a crossbar as one forward pass reads them."""

  weights: jax.Array  # [I, O], with the frozen part of the read noise
  # [I, O], of the read noise that is fresh in every product; None for none
  variance: jax.Array | None


def weights_from_targets(
    g_uS: jax.Array, gain_per_uS: jax.Array
) -> jax.Array:
  """Returns gain (sum_d G+ - sum_d G-).

  Args:
    g_uS: [P, D, I, O], conductances.
    gain_per_uS: weight per uS.

  Returns:
    [I, O].
  """
  return gain_per_uS * _sum_devices(g_uS, minus=-1.0)


def program(
    key: jax.Array,
    device: types.Device,
    noise_free: types.Device,
    targets_uS: jax.Array,
    gain_per_uS: jax.Array,
) -> Crossbar:
  """Returns a crossbar that was programmed just now.

  Args:
    key: consumed.
    device: the technology.
    noise_free: the same without noise, for the controller's estimate.
    targets_uS: [P, D, I, O].
    gain_per_uS: scalar.

  Returns:
    A `Crossbar`; every counter points to the first device.
  """
  chex.assert_rank(targets_uS, 4)
  shape = targets_uS.shape
  return Crossbar(
      devices=device.program(key, targets_uS),
      estimate=noise_free.program(jax.random.key(0), targets_uS),
      gain_per_uS=dtypes.float32(gain_per_uS),
      counter=jnp.zeros(shape[:1] + shape[2:], jnp.float32),
      usage=UsageCounts(jnp.zeros(shape, jnp.float32),
                        jnp.zeros(shape, jnp.float32)),
  )


def advance(
    device: types.Device,
    noise_free: types.Device,
    crossbar: Crossbar,
    elapsed_s: jax.Array,
) -> Crossbar:
  """Returns the crossbar elapsed_s later, older by as much.

  Args:
    device: the technology.
    noise_free: the technology without noise.
    crossbar: state.
    elapsed_s: time that passes, s.

  Returns:
    New `Crossbar`.
  """
  slow = crossbar.slow
  return crossbar._replace(
      devices=device.advance(crossbar.devices, elapsed_s),
      estimate=noise_free.advance(crossbar.estimate, elapsed_s),
      slow=slow and slow_noise.advance(slow, elapsed_s))


def draw_slow(key: jax.Array, crossbar: Crossbar) -> Crossbar:
  """Returns the crossbar with its slow noise drawn for a read now.

  Comes before every read of a crossbar that has slow noise; without it, two
  reads share all of that noise.

  Args:
    key: consumed.
    crossbar: state; one without slow noise is returned as it is.

  Returns:
    New `Crossbar`.
  """
  if crossbar.slow is None:
    return crossbar
  return crossbar._replace(slow=slow_noise.draw(key, crossbar.slow))


def read(
    key: jax.Array,
    device: types.Device,
    crossbar: Crossbar,
    elapsed_s: jax.Array,
    fresh_share: jax.Array,
) -> Reading:
  """Returns the weights that one forward pass reads, elapsed_s after now.

  Read noise has a 1/f spectrum: the part slower than a forward pass is frozen
  while it lasts; the rest, `fresh_share` of the variance, is new in every
  product. Of the frozen part, what is slow was drawn by `draw_slow`, where the
  crossbar has slow noise; the rest is drawn here.

  Args:
    key: consumed by the frozen part.
    device: the technology.
    crossbar: state, see `draw_slow`.
    elapsed_s: from now to the read; 0 where the crossbar has slow noise.
    fresh_share: 0 (one read per forward pass) to 1 (a read per product). The
      number 0, not traced, leaves out the variance and every fresh draw.

  Returns:
    A `Reading`.
  """
  mean_uS, sigma_uS = device.read_stats(crossbar.devices, elapsed_s)
  shown_uS, frozen_share, fresh = slow_noise.add(
      crossbar.slow, mean_uS, sigma_uS, fresh_share)
  mean = _sum_devices(shown_uS, minus=-1.0)
  # The sum of independent Gaussian devices is one Gaussian: one draw a weight.
  variance = _sum_devices(jnp.square(sigma_uS), minus=1.0)
  frozen = read_noise.safe_sqrt(frozen_share * variance)
  gain = crossbar.gain_per_uS
  weights = gain * (mean + frozen * gaussian.normal(key, mean.shape))
  if isinstance(fresh_share, (int, float)) and fresh_share == 0:
    return Reading(weights, None)
  return Reading(weights, jnp.square(gain) * fresh * variance)


def product(inputs: jax.Array, reading: Reading) -> tuple[jax.Array, jax.Array]:
  """Returns the mean and the standard deviation of x w + b over fresh noise.

  For independent Gaussian devices, x (W + S * noise) with noise fresh in every
  product has the law of x W + sqrt(x^2 S^2) * noise, at each output and
  jointly, so no weight-sized draw is needed. The last row is the bias, driven
  by a constant current of 1.

  Args:
    inputs: [..., I - 1].
    reading: [I, O].

  Returns:
    Mean and standard deviation [..., O]; where the latter is 0, so is its
    gradient.
  """
  inputs, reading = dtypes.float32((inputs, reading))
  mean = _affine(inputs, reading.weights)
  if reading.variance is None:
    return mean, jnp.zeros_like(mean)
  variance = _affine(jnp.square(inputs), reading.variance)
  return mean, read_noise.safe_sqrt(variance)


def pulse(
    key: jax.Array,
    device: types.Device,
    noise_free: types.Device,
    crossbar: Crossbar,
    num_pulses: jax.Array,
) -> Crossbar:
  """Returns the crossbar after a write now: +n pulses on G+, or -n on G-.

  Args:
    key: consumed.
    device: the technology.
    noise_free: the technology without noise.
    crossbar: state.
    num_pulses: [I, O], signed whole numbers.

  Returns:
    New `Crossbar`, its counters advanced.
  """
  pulses = device_selection.pulses_per_device(
      dtypes.float32(num_pulses), crossbar.usage.num_pulses.shape[1],
      crossbar.counter)
  new = pulse_devices(key, device, noise_free, crossbar, pulses)
  return new._replace(
      counter=device_selection.advance(crossbar.counter, pulses))


def pulse_devices(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    crossbar: Crossbar, pulses: jax.Array
) -> Crossbar:
  """Returns the crossbar after pulses [P, D, I, O]; counters stay."""
  given = jnp.abs(jax.lax.stop_gradient(pulses))
  usage = crossbar.usage
  return crossbar._replace(
      devices=device.pulse(key, crossbar.devices, pulses),
      estimate=jax.lax.stop_gradient(
          noise_free.pulse(jax.random.key(0), crossbar.estimate, pulses)),
      usage=usage._replace(num_pulses=usage.num_pulses + given),
  )


def reset_devices(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    crossbar: Crossbar, mask: jax.Array
) -> Crossbar:
  """Returns the crossbar after RESETs where mask [P, D, I, O] is true."""
  usage = crossbar.usage
  return crossbar._replace(
      devices=device.reset(key, crossbar.devices, mask),
      estimate=noise_free.reset(jax.random.key(0), crossbar.estimate, mask),
      usage=usage._replace(num_resets=usage.num_resets + mask),
  )


def _sum_devices(g_uS, *, minus):
  """Returns sum_d G+_d + minus sum_d G-_d, [I, O] from [P, D, I, O].

  A matrix product, whose result XLA on CPU stores; a sum is fused into the time
  loop and repeats the draws at every step (30 ms instead of 12 ms).
  """
  num_devices = g_uS.shape[1]
  signs = jnp.repeat(jnp.array([1.0, minus], g_uS.dtype), num_devices)
  flat = g_uS.reshape(2 * num_devices, -1)
  return linalg.matmul(signs, flat).reshape(g_uS.shape[2:])


def _affine(inputs, weights):
  """Returns inputs @ weights[:-1] + weights[-1].

  A constant input gets a column of ones, so that XLA stores one product; spikes
  over time would be copied for it, so the bias is added to them.
  """
  if inputs.ndim == 2:
    ones = jnp.ones((inputs.shape[0], 1), inputs.dtype)
    return linalg.matmul(jnp.concatenate([inputs, ones], axis=1), weights)
  out = linalg.matmul(inputs, weights[:-1])
  return out + weights[-1].reshape((1,) * (out.ndim - 1) + (-1,))
