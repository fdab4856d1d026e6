"""What the controller of a crossbar may know, and its table of pulses.

It never sees a state. It has its noise-free model, the twin, which is pulsed
and RESET with the chip; the clock, and with it the mean law of drift; and what
it reads, with noise. Where it reads, the twin can be moved to what was read.

Axes: P polarity (plus, minus), D device, I in, O out.
"""

import math

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import types
from meta_analog.crossbar import array


def estimate(
    model: types.Device, crossbar: array.Crossbar, elapsed_s: jax.Array | float
) -> jax.Array:
  """Returns the twin's conductances elapsed_s after now, [P, D, I, O], uS."""
  return model.read_stats(crossbar.model, elapsed_s)[0]


def measure(
    key: jax.Array, device: types.Device, crossbar: array.Crossbar,
    num_reads: jax.Array, fresh_share: jax.Array
) -> jax.Array:
  """Returns the mean of `num_reads` noisy reads now, [P, D, I, O], uS.

  Read noise is Gaussian with a 1/f spectrum. The part slower than the look is
  one draw, which all its reads share, so that no number of reads averages it
  out; only the rest, `fresh_share` of the variance, is new in each. The sum of
  the two is drawn at once, see `mean_read_variance`.
  """
  mean_uS, sigma_uS = device.read_stats(crossbar.devices, 0.0)
  scale = jnp.sqrt(mean_read_variance(num_reads, fresh_share))
  return mean_uS + scale * sigma_uS * gaussian.normal(key, mean_uS.shape)


def mean_read_variance(
    num_reads: jax.Array | int, fresh_share: jax.Array | float
) -> jax.Array | float:
  """Returns the variance of the mean of n reads, relative to that of one.

      (1 - s) + s / n
  """
  return (1.0 - fresh_share) + fresh_share / num_reads


def known_drift(
    model: types.Device, crossbar: array.Crossbar, horizon_s: jax.Array
) -> jax.Array:
  """Returns G(horizon_s after now) / G(now) of the twin, [P, D, I, O].

  The controller knows when it last touched a device, and the mean law. Where
  the twin conducts nothing, 1.
  """
  now_uS = estimate(model, crossbar, 0.0)
  then_uS = estimate(model, crossbar, horizon_s)
  conducts = now_uS > 1e-6
  return jnp.where(conducts, then_uS / jnp.where(conducts, now_uS, 1.0), 1.0)


def correct_estimate(
    model: types.Device, crossbar: array.Crossbar, read_uS: jax.Array,
    mask: jax.Array
) -> array.Crossbar:
  """Returns the crossbar with its twin moved to what was read now.

  Where mask [P, D, I, O] is true the twin's conductance is scaled so that it
  predicts the read; a read below 0.01 uS counts as 0.01 uS. Every state of a
  device holds its conductance as `g_uS`.
  """
  state = crossbar.model
  predicted_uS = model.read_stats(state, 0.0)[0]
  conducts = mask & (predicted_uS > 1e-6)
  ratio = (jnp.maximum(read_uS, 0.01)
           / jnp.where(conducts, predicted_uS, 1.0))
  return crossbar._replace(model=state._replace(
      g_uS=jnp.where(conducts, state.g_uS * ratio, state.g_uS)))


def read_sigma_uS(
    device: types.Device, model: types.Device, largest_uS: float,
    lowest_uS: float, num_devices: int, age_s: float
) -> float:
  """Returns the deviation of one read of a pair at its largest difference.

  The states are those that the noise-free model is programmed to: no luck of
  programming decides.
  """
  targets_uS = jnp.array([largest_uS, lowest_uS])
  state = model.program(jax.random.key(0), targets_uS)
  variance = jnp.sum(jnp.square(device.read_stats(state, age_s)[1]))
  return math.sqrt(num_devices * float(variance))


def difference(g_uS: jax.Array) -> jax.Array:
  """Returns sum_d G+ - sum_d G-, [I, O]."""
  return jnp.sum(g_uS[0] - g_uS[1], axis=0)
