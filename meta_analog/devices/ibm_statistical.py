"""Statistical model of programmed phase-change devices, by fitted curves.

The result of iterative programming, as curves of the relative conductance
r = g / g_max, the same form for every technology that was measured so:

    program   g_p  =  max(0, g_T + sigma_p(r_T) N)
    drift     g(t) =  g_p ((t + t_0) / t_0)^-nu,    nu = |mu(r_T) + s(r_T) N'|
    read      g_r  =  g(t) (1 + Q sqrt(ln((t + t_0 + t_read) / (2 t_read))) N'')

t counts from the end of programming and t_0 is the age of the first read, so
nothing is singular at t = 0; ages below 1 ms count as 1 ms. N' belongs to the
device: one draw for its life. N'' is new in every read: Q is the level of a 1/f
spectrum, S_G / G^2 = Q / f, integrated from the programming on.

Source: Nandakumar et al., 2019 (ieeexplore.ieee.org/document/8964852) and Joshi
et al., 2020 (doi:10.1038/s41467-020-16108-9), in the form of aihwkit 1.1.0.

Additions and decisions of this file:

* A target is limited to [g_min, g_max]; its error is clipped at 0 only, so a
  state may lie above g_max. Reads are never clipped (aihwkit clips at 0).
* A target that is not above the RESET state asks for that state: the device is
  RESET, with the law, the exponent and the pulse memory of a RESET. With
  g_reset_uS = 0 every target is programmed with its error, 0 included, as
  aihwkit does.
* Every device keeps its own state. Nothing is folded back into a weight or
  scaled to the largest weight of an array.
* Q comes from the target, as the publications say, or from the programmed
  conductance, as aihwkit computes it: `read_noise_from`.
* The model says nothing about pulses. They follow the partial SET law of
  Nandakumar et al., 2018 (see `partial_set`), measured on a cell whose range is
  `set_range_uS`, with every conductance scaled by g_max / set_range_uS: an
  assumption. So is RESET: N(g0, (s g0)^2), g0 scaled likewise, cut at 0.
* A pulse or a RESET starts the drift afresh from the new conductance, which
  replaces the target from then on: nu = |mu(r) + s(r) N'| with the N' of the
  device, and Q = Q(r), whatever `read_noise_from`.
* SET ends at g_max, or where the device already was if that is higher.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import mean_drift
from meta_analog.devices import partial_set

MIN_AGE_S = 1e-3  # s, no read comes sooner
MIN_RELATIVE = 1e-7  # the curves hold ln r; far below the last break point
READ_NOISE_FROM = ('target', 'programmed')  # the parameter is the index

Curve = Callable[[jax.Array], jax.Array]


class Curves(NamedTuple):
  """Measured curves, as functions of r = g / g_max."""

  program_sigma_uS: Curve
  nu_mean: Curve
  nu_std: Curve
  read_q: Curve  # Q, dimensionless


class State(NamedTuple):
  """State of an array of devices; all fields have the array's shape."""

  g_uS: jax.Array  # uS, conductance at the end of the last event, age 0
  nu: jax.Array  # drift exponent
  # N' of this device, times the noise scale; of a model of the mean, which has
  # none, the standard deviation of nu over devices.
  nu_normal: jax.Array
  read_q: jax.Array  # Q, level of the 1/f noise
  pulse_memory: jax.Array  # P, 1 after RESET, shrinks with every SET
  age_s: jax.Array  # s, since the last programming event
  num_pulses: jax.Array  # SET pulses since programming or RESET


def make(
    params: Any, curves: Curves, *, max_pulses: int,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the device with these parameters and curves.

  A state that was clipped at a bound passes no gradient; pulses are
  differentiated as `partial_set.train` says.

  Args:
    params: scalars `g_min_uS`, `g_max_uS`, `t0_s`, `t_read_s`,
      `read_noise_from`, `set_range_uS`, `g_reset_uS`, `reset_std`,
      `pulse_memory_after_program`, `noise_scale` and those of
      `partial_set.Law`.
    curves: closed over the same parameters.
    max_pulses: most SET pulses in one call of `pulse`, static.
    mean_scale: None; or, with params.noise_scale = 0, the noise scale of the
      devices whose mean this noise-free one follows, see `common.limited`.

  Returns:
    A `types.Device`.
  """
  p = params
  read_stats = lambda state, elapsed_s: _read_stats(
      p, mean_scale, state, elapsed_s)

  def program(key, target_uS):
    return _program(p, curves, mean_scale, key, target_uS)

  def pulse(key, state, num_pulses):
    new = partial_set.train(
        key, _law(p), state, num_pulses, step=1.0, low_uS=p.g_min_uS,
        high_uS=jnp.maximum(p.g_max_uS, jax.lax.stop_gradient(state.g_uS)),
        noise_scale=p.noise_scale, max_pulses=max_pulses,
        mean_scale=mean_scale)
    touched = jax.lax.stop_gradient(num_pulses) > 0
    return _restart(p, curves, mean_scale, new, touched)

  def reset(key, state, mask):
    noise = p.noise_scale * gaussian.normal(key, mask.shape)
    g_uS = _after_reset_uS(p, mean_scale, noise)
    new = state._replace(
        g_uS=jnp.where(mask, g_uS, state.g_uS),
        pulse_memory=jnp.where(mask, 1.0, state.pulse_memory),
        num_pulses=jnp.where(mask, 0.0, state.num_pulses))
    return _restart(p, curves, mean_scale, new, mask)

  return common.device(program, pulse, reset, common.advance,
                       common.gaussian_read(read_stats), read_stats)


def drift(
    g_uS: jax.Array, nu: jax.Array, age_s: jax.Array, t0_s: jax.Array
) -> jax.Array:
  """Returns g ((age + t_0) / t_0)^-nu; ages below 1 ms count as 1 ms."""
  return g_uS * jnp.exp(-nu * _log_age(age_s, t0_s))


def _log_age(age_s, t0_s):
  """Returns ln((age + t_0) / t_0) of ages of at least MIN_AGE_S."""
  return jnp.log1p(jnp.maximum(age_s, MIN_AGE_S) / t0_s)


def accumulated(
    age_s: jax.Array, t0_s: jax.Array, t_read_s: jax.Array
) -> jax.Array:
  """Returns sqrt(ln((t + t_read) / (2 t_read))), t = age + t_0.

  A spectrum Q / f has Q times the square of this as its variance, between the
  inverse of the time since programming and that of a read.
  """
  t_s = jnp.maximum(age_s, MIN_AGE_S) + t0_s
  return jnp.sqrt(jnp.log((t_s + t_read_s) / (2.0 * t_read_s)))


def reset_uS(params: Any) -> jax.Array | float:
  """Returns the mean of the RESET state, that of `pcm` scaled to the range."""
  return params.g_reset_uS * params.g_max_uS / params.set_range_uS


def _after_reset_uS(p, mean_scale, noise):
  """Returns the conductance that a RESET leaves."""
  mean_uS = jnp.full_like(noise, reset_uS(p))
  return common.limited(mean_uS, p.reset_std * mean_uS, noise, mean_scale, 0.0,
                        jnp.inf)


def _program(p, curves, mean_scale, key, target_uS):
  """Returns new devices that were programmed to a target."""
  shape = target_uS.shape
  target_uS = quantization.saturate(target_uS, p.g_min_uS, p.g_max_uS)
  error, nu_normal = p.noise_scale * gaussian.normal(key, (2,) + shape)
  sigma_uS = curves.program_sigma_uS(_relative(p, target_uS))
  lowest_uS = reset_uS(p)
  erased, g_uS = common.erased(
      target_uS, jnp.where(lowest_uS > 0, lowest_uS, -jnp.inf),
      _after_reset_uS(p, mean_scale, error),
      common.limited(target_uS, sigma_uS, error, mean_scale, 0.0, jnp.inf))
  r = _relative(p, jnp.where(erased, g_uS, target_uS))
  programmed = jnp.asarray(p.read_noise_from) > 0.5
  nu, nu_normal = _exponent(curves, mean_scale, r, nu_normal)
  return State(
      g_uS=g_uS,
      nu=nu,
      nu_normal=nu_normal,
      read_q=curves.read_q(jnp.where(programmed, _relative(p, g_uS), r)),
      pulse_memory=jnp.where(
          erased, jnp.float32(1.0), p.pulse_memory_after_program),
      age_s=jnp.zeros(shape, jnp.float32),
      num_pulses=jnp.zeros(shape, jnp.float32),
  )


def _restart(p, curves, mean_scale, state, mask):
  """Returns the state whose drift starts now where the mask is true."""
  r = _relative(p, state.g_uS)
  nu, nu_normal = _exponent(curves, mean_scale, r, state.nu_normal)
  return state._replace(
      nu=jnp.where(mask, nu, state.nu),
      nu_normal=jnp.where(mask, nu_normal, state.nu_normal),
      read_q=jnp.where(mask, curves.read_q(r), state.read_q),
      age_s=jnp.where(mask, 0.0, state.age_s))


def _read_stats(p, mean_scale, state, elapsed_s):
  """Returns mean and standard deviation of a read, uS."""
  age_s = state.age_s + elapsed_s
  g_uS = (drift(state.g_uS, state.nu, age_s, p.t0_s) if mean_scale is None
          else state.g_uS * mean_drift.folded(
              state.nu, state.nu_normal, _log_age(age_s, p.t0_s)))
  noise = state.read_q * accumulated(age_s, p.t0_s, p.t_read_s)
  return g_uS, p.noise_scale * noise * g_uS


def _exponent(curves, mean_scale, r, nu_normal):
  """Returns the fields `nu` and `nu_normal` of a state, nu = |mu + s N'|."""
  mean, std = curves.nu_mean(r), curves.nu_std(r)
  if mean_scale is None:
    return jnp.abs(mean + std * nu_normal), nu_normal
  return jnp.abs(mean), mean_scale * std


def _relative(p, g_uS):
  """Returns g / g_max, kept off 0, where the curves have no value."""
  return jnp.maximum(g_uS / p.g_max_uS, MIN_RELATIVE)


def _law(p):
  """Returns the SET law scaled to this technology's range."""
  law = partial_set.Law(
      p.m1, p.c1_uS, p.a1_uS, p.m2, p.c2_uS, p.a2_uS, p.memory_pulses)
  return partial_set.scaled(law, p.g_max_uS / p.set_range_uS)
