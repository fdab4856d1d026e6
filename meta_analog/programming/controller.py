"""Controller of a crossbar: its estimate of conductances and its noisy reads.

It has no access to the true states. Its noise-free model, `Crossbar.estimate`,
is pulsed and RESET with the devices and ages with them, so it follows the mean
law of drift; reads have noise. Where the controller reads, it can correct the
estimate.

Axes: P polarity (plus, minus), D device, I in, O out.
"""

import math

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import slow_noise


def estimated_uS(
    noise_free: types.Device, crossbar: array.Crossbar,
    elapsed_s: jax.Array | float
) -> jax.Array:
  """Returns the estimate elapsed_s after now, [P, D, I, O], uS."""
  return noise_free.read_stats(crossbar.estimate, elapsed_s)[0]


def measure(
    key: jax.Array, device: types.Device, crossbar: array.Crossbar,
    num_reads: jax.Array, fresh_share: jax.Array
) -> tuple[jax.Array, array.Crossbar]:
  """Returns the mean of `num_reads` noisy reads now, and the crossbar.

  Read noise is Gaussian with a 1/f spectrum. The part slower than the
  measurement is shared by all its reads, so averaging does not remove it; the
  rest, `fresh_share` of the variance, is new in each read. The sum of the two
  is one draw, see `mean_read_variance`; see also `crossbar.slow_noise`.

  Args:
    key: consumed.
    device: the technology.
    crossbar: state.
    num_reads: that are averaged.
    fresh_share: of the variance.

  Returns:
    [P, D, I, O], uS, and the crossbar with the slow noise of this read.
  """
  if crossbar.slow is not None:
    key, key_slow = jax.random.split(key)
    crossbar = array.draw_slow(key_slow, crossbar)
  mean_uS, sigma_uS = device.read_stats(crossbar.devices, 0.0)
  mean_uS, frozen, fresh = slow_noise.add(
      crossbar.slow, mean_uS, sigma_uS, fresh_share)
  scale = jnp.sqrt(frozen + fresh / num_reads)
  noise = scale * sigma_uS * gaussian.normal(key, mean_uS.shape)
  return mean_uS + noise, crossbar


def mean_read_variance(
    num_reads: jax.Array | int, fresh_share: jax.Array | float
) -> jax.Array | float:
  """Returns the variance of the mean of n reads, relative to that of one.

      (1 - s) + s / n
  """
  return (1.0 - fresh_share) + fresh_share / num_reads


def known_drift(
    noise_free: types.Device, crossbar: array.Crossbar, horizon_s: jax.Array
) -> jax.Array:
  """Returns G(horizon_s after now) / G(now) of the estimate, [P, D, I, O].

  The mean law of drift at the known ages; 1 where the estimate is 0.
  """
  now_uS = estimated_uS(noise_free, crossbar, 0.0)
  then_uS = estimated_uS(noise_free, crossbar, horizon_s)
  conducts = now_uS > 1e-6
  return jnp.where(conducts, then_uS / jnp.where(conducts, now_uS, 1.0), 1.0)


def correct_estimate(
    noise_free: types.Device, crossbar: array.Crossbar, read_uS: jax.Array,
    mask: jax.Array
) -> array.Crossbar:
  """Returns the crossbar with its estimate corrected to what was read now.

  Where mask [P, D, I, O] is true the estimated conductance is scaled so that it
  predicts the read; a read below 0.01 uS counts as 0.01 uS. Every state of a
  device holds its conductance as `g_uS`.
  """
  state = crossbar.estimate
  predicted_uS = noise_free.read_stats(state, 0.0)[0]
  conducts = mask & (predicted_uS > 1e-6)
  ratio = (jnp.maximum(read_uS, 0.01)
           / jnp.where(conducts, predicted_uS, 1.0))
  return crossbar._replace(estimate=state._replace(
      g_uS=jnp.where(conducts, state.g_uS * ratio, state.g_uS)))


def read_sigma_uS(
    device: types.Device, noise_free: types.Device, largest_uS: float,
    lowest_uS: float, num_devices: int, age_s: float
) -> float:
  """Returns the standard deviation of one read of a pair, uS.

  At states without programming errors, so that no draw enters.

  Args:
    device: the technology.
    noise_free: the technology without noise.
    largest_uS: target of the one side, at the largest difference.
    lowest_uS: target of the other.
    num_devices: devices per polarity.
    age_s: of the devices, s.

  Returns:
    A number.
  """
  targets_uS = jnp.array([largest_uS, lowest_uS], jnp.float32)
  state = noise_free.program(jax.random.key(0), targets_uS)
  variance = jnp.sum(jnp.square(device.read_stats(state, age_s)[1]))
  return math.sqrt(num_devices * float(variance))


def difference(g_uS: jax.Array) -> jax.Array:
  """Returns sum_d G+ - sum_d G-, [I, O]."""
  return jnp.sum(g_uS[0] - g_uS[1], axis=0)
