"""Ageing, Gaussian reads and limited draws, common to several device models."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meta_analog.core import dtypes
from meta_analog.core import gaussian
from meta_analog.core import quantization
from meta_analog.core import types

# (state, elapsed_s) -> (mean_uS, sigma_uS)
ReadStatsFn = Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]
# Noise scale of the devices whose mean a noise-free model follows; None draws.
MeanScale = jax.Array | float | None


def device(
    program: Callable[..., Any], pulse: Callable[..., Any],
    reset: Callable[..., Any], advance: Callable[..., Any],
    read: Callable[..., Any], read_stats: Callable[..., Any]
) -> types.Device:
  """Returns a device that computes in float32, whatever it is called with.

  Args:
    program: see `types.Device`, as all others.
    pulse: as there.
    reset: as there.
    advance: as there.
    read: as there.
    read_stats: as there.
  """
  f32 = dtypes.float32
  return types.Device(
      program=lambda key, target_uS: program(key, f32(target_uS)),
      pulse=lambda key, state, num_pulses: pulse(key, state, f32(num_pulses)),
      reset=reset,
      advance=lambda state, elapsed_s: advance(state, f32(elapsed_s)),
      read=lambda key, state, elapsed_s: read(key, state, f32(elapsed_s)),
      read_stats=lambda state, elapsed_s: read_stats(state, f32(elapsed_s)))


def advance(state: Any, elapsed_s: jax.Array) -> Any:
  """Returns the state elapsed_s later: its field `age_s` grows by that."""
  return state._replace(age_s=state.age_s + elapsed_s)


def gaussian_read(
    read_stats: ReadStatsFn
) -> Callable[[jax.Array, Any, jax.Array], jax.Array]:
  """Returns a read with the moments that read_stats gives.

  Args:
    read_stats: see `types.Device`.

  Returns:
    The function `read` of a `types.Device`.
  """
  def read(key, state, elapsed_s):
    mean_uS, sigma_uS = read_stats(state, elapsed_s)
    return mean_uS + sigma_uS * gaussian.normal(key, mean_uS.shape)

  return read


def limited(
    mean_uS: jax.Array, sigma_uS: jax.Array, normal: jax.Array,
    mean_scale: MeanScale, low_uS: jax.Array, high_uS: jax.Array
) -> jax.Array:
  """Returns clip(mean + sigma normal, low, high), or the mean of such draws.

  A draw that was clipped passes no gradient.

  Args:
    mean_uS: of the draw before it is clipped.
    sigma_uS: its standard deviation at noise scale 1.
    normal: standard normal numbers times the noise scale.
    mean_scale: None for the draw; else the noise scale whose mean is returned,
      and `normal` is not used.
    low_uS: lowest conductance.
    high_uS: highest conductance.

  Returns:
    Conductances, uS.
  """
  if mean_scale is None:
    return quantization.saturate(mean_uS + sigma_uS * normal, low_uS, high_uS)
  return clipped_mean(mean_uS, mean_scale * sigma_uS, low_uS, high_uS)


@jax.custom_jvp
def _beyond(a):
  """Returns t(a), see `clipped_mean`."""
  density = jnp.exp(-0.5 * jnp.square(a)) * 0.3989422804014327
  return density - a * gaussian.cdf(-a)


@_beyond.defjvp
def _beyond_derivative(primals, tangents):
  (a,), (change,) = primals, tangents
  return _beyond(a), -gaussian.cdf(-a) * change


def clipped_mean(
    mean_uS: jax.Array, sigma_uS: jax.Array, low_uS: jax.Array,
    high_uS: jax.Array
) -> jax.Array:
  """Returns the mean of clip(N(mean, sigma^2), low, high).

      clip(mean) + sigma (t(|low - mean| / sigma) - t(|high - mean| / sigma)),
      t(a) = phi(a) - a Phi(-a) = E max(N(0, 1) - a, 0)

  Within a standard deviation of a bound it lies visibly inside: a target at the
  bound is left 0.4 sigma away from it on average.

  Source: Tobin, 1958 (doi:10.2307/1907382), the mean of a censored normal
  variable.

  Args:
    mean_uS: before it is clipped.
    sigma_uS: standard deviation; where it is 0 the result is clip(mean).
    low_uS: lower bound.
    high_uS: upper bound, may be infinite.

  Returns:
    Mean, uS.
  """
  sigma_uS = jnp.abs(sigma_uS)
  divisor = jnp.where(sigma_uS > 0, sigma_uS, 1.0)

  # t is 0 in float32 from 14 on; an infinite bound has no product with 0.
  below, above = _beyond(jnp.stack(jnp.broadcast_arrays(*(
      jnp.minimum(jnp.abs(bound_uS - mean_uS) / divisor, 20.0)
      for bound_uS in (low_uS, high_uS)))))
  bias = sigma_uS * (below - above)
  return quantization.saturate(mean_uS, low_uS, high_uS) + bias


def folded(
    sigma_uS: jax.Array, normal: jax.Array, mean_scale: MeanScale
) -> jax.Array:
  """Returns sigma |normal|, or the mean of such draws, sigma (2 / pi)^(1/2).

  Args:
    sigma_uS: at noise scale 1.
    normal: see `limited`.
    mean_scale: see `limited`.
  """
  if mean_scale is None:
    return sigma_uS * jnp.abs(normal)
  return jnp.broadcast_to(
      mean_scale * sigma_uS * 0.7978845608028654, normal.shape)


def erased(
    target_uS: jax.Array, reset_uS: jax.Array, after_reset_uS: jax.Array,
    programmed_uS: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns which targets ask for the RESET state, and all conductances.

  No device is below the state that RESET leaves, so one whose target is not
  above it is RESET and that is all: half of the devices of an array. Its
  derivative to the target is taken as 1, that of the target; where a pair has
  one side at its lowest state, the map from weights to targets decides what
  moves.

  Args:
    target_uS: within the range of the device.
    reset_uS: mean of the RESET state, scalar.
    after_reset_uS: conductances of devices that were RESET.
    programmed_uS: of devices that were programmed to the targets.

  Returns:
    Booleans and conductances, shape of target_uS.
  """
  mask = jax.lax.stop_gradient(target_uS) <= reset_uS
  return mask, jnp.where(
      mask, quantization.straight_through(after_reset_uS, target_uS),
      programmed_uS)
