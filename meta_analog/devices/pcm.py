"""Phase-change memory, 90 nm mushroom cell: statistical model of all steps.

One SET pulse, the n-th since RESET, adds a random step that depends on the
conductance G and on the history, carried by a pulse memory P = exp(-n / a):

    P       <- P exp(-1 / a)                          before the step
    dG      =  m1 G + c1 + A1 P + (m2 G + c2 + A2 P) N(0, 1)
    G       <- clip(G + dG, g_min, g_max)

A read at an age t, seconds after the last programming event, sees drift and
white noise:

    G_d(t)  =  G (t / T0)^-nu                         eq. 3
    G_r     =  G_d + (m3 G_d + c3) N(0, 1)

G itself is the conductance T0 after the last event. A pulse or a RESET restarts
the drift of its device. RESET: G ~ N(g0, 0.1 g0), P <- 1.

nu is the same at every state, as published. With `nu_slope` it depends on it:
its mean is clip(nu_mean + nu_slope ln(g / nu_range), nu_min, nu_max), at the
conductance of the last event. That is the law of Joshi et al., 2020, with
nu_mean 0.0244, nu_slope -0.0155, nu_range 25 uS, nu_min 0.049 and nu_max 0.1.

Source: Nandakumar et al., 2018 (doi:10.1063/1.5042408); constants as in the
public implementation that reproduces its figure (srnn-pcm, xbar.py). It has no
device-to-device spread: `nu_std` and `step_std` add it, and 0 recovers it.

Programming to a target stands for an iterative procedure and draws its error
from the statistical model of Joshi et al., 2020, with the coefficients at 25 uS
as in aihwkit (doi:10.1038/s41467-020-16108-9):

    sigma(g) = 0.26348 + 0.0786 g - 0.001877 g^2  uS

clipped to [g_min, g_max]. A target that is not above g0 asks for the RESET
state: such a device is RESET, 0.1 +- 0.01 uS and P = 1, where the error of
programming would leave 0.21 +- 0.16 uS.

The pulse memory after such a procedure is not published;
`pulse_memory_after_program` is an assumption, 0 for a relaxed device.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import mean_drift
from meta_analog.devices import partial_set

BIDIRECTIONAL = False
MIN_AGE_S = 1e-3  # s, the power law is singular at age 0
# The parameters that each source of noise is proportional to.
NOISE = {
    'program': ('program_p0_uS', 'program_p1', 'program_p2_per_uS'),
    'read': ('m3', 'c3_uS'),
    'write': ('m2', 'c2_uS', 'a2_uS', 'step_std', 'reset_std'),
    'drift_spread': ('nu_std',),
}


class PCMParams(NamedTuple):
  """Parameters, all traced. Measured values unless a comment says otherwise."""

  g_min_uS: jax.Array | float = 0.1  # uS, lowest state after SET
  g_max_uS: jax.Array | float = 12.0  # uS; 20 redraws the published figure
  g_reset_min_uS: jax.Array | float = 0.01  # uS, lowest state after RESET
  # SET: mean step m1 G + c1 + A1 P and its standard deviation m2 G + c2 + A2 P.
  m1: jax.Array | float = -0.084
  c1_uS: jax.Array | float = 0.880
  a1_uS: jax.Array | float = 1.40
  m2: jax.Array | float = 0.091
  c2_uS: jax.Array | float = 0.260
  a2_uS: jax.Array | float = 2.15
  memory_pulses: jax.Array | float = 2.6  # a, pulses
  # Read: standard deviation m3 G + c3.
  m3: jax.Array | float = 0.03
  c3_uS: jax.Array | float = 0.13
  # Drift.
  # s, first read after programming: 38.6 in this model (Nandakumar 2018); 20
  # in aihwkit and 27.36 according to CrossSim, both for Joshi 2020.
  t0_s: jax.Array | float = 38.6
  nu_mean: jax.Array | float = 0.04  # exponent, mean over devices
  nu_std: jax.Array | float = 0.01  # spread over devices; assumed
  nu_slope: jax.Array | float = 0.0  # of the mean by ln(g / nu_range)
  nu_range_uS: jax.Array | float = 25.0  # uS, where the mean is nu_mean
  nu_min: jax.Array | float = 0.0  # lowest mean
  nu_max: jax.Array | float = 1.0  # highest mean
  step_std: jax.Array | float = 0.0  # relative spread of the step; assumed
  g_reset_uS: jax.Array | float = 0.1  # uS, mean after a RESET
  reset_std: jax.Array | float = 0.1  # of a RESET, relative
  # Programming to a target, sigma = p0 + p1 g + p2 g^2.
  program_p0_uS: jax.Array | float = 0.26348
  program_p1: jax.Array | float = 0.0786
  program_p2_per_uS: jax.Array | float = -0.001877
  pulse_memory_after_program: jax.Array | float = 0.0  # P, assumed
  noise_scale: jax.Array | float = 1.0  # multiplies every standard deviation


class PCMState(NamedTuple):
  """State of an array of devices; all fields have the array's shape."""

  g_uS: jax.Array  # uS, conductance T0 after the last programming event
  pulse_memory: jax.Array  # P, 1 after RESET, shrinks with every SET
  age_s: jax.Array  # s, since the last programming event
  nu: jax.Array  # drift exponent of this device, at nu_range with a slope
  step: jax.Array  # relative step size of this device
  num_pulses: jax.Array  # SET pulses since programming or RESET


def make(
    params: PCMParams = PCMParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the PCM device with these parameters.

  Straight-through gradients, where physics is not differentiable: the number
  of pulses is differentiated as the mean step at the state where the train
  ends (see `types.Device`); a state that was clipped at a bound passes no
  gradient.

  Args:
    params: scalars.
    max_pulses: most SET pulses in one call of `pulse`, static.
    mean_scale: None; or, with params.noise_scale = 0, the noise scale of the
      devices whose mean this noise-free one follows, see `common.limited`.

  Returns:
    A `types.Device`.
  """
  p = params
  law = partial_set.Law(
      p.m1, p.c1_uS, p.a1_uS, p.m2, p.c2_uS, p.a2_uS, p.memory_pulses)

  def program(key, target_uS):
    return _program(p, mean_scale, key, target_uS)

  def pulse(key, state, num_pulses):
    new = partial_set.train(
        key, law, state, num_pulses, step=state.step, low_uS=p.g_min_uS,
        high_uS=p.g_max_uS, noise_scale=p.noise_scale, max_pulses=max_pulses,
        mean_scale=mean_scale)
    touched = jax.lax.stop_gradient(num_pulses) > 0
    return new._replace(age_s=jnp.where(touched, 0.0, state.age_s))

  def reset(key, state, mask):
    return _reset(p, mean_scale, key, state, mask)

  def read_stats(state, elapsed_s):
    age_s = state.age_s + elapsed_s
    g_uS = (drift(state.g_uS, exponent(p, state), age_s, p.t0_s)
            if mean_scale is None else
            _mean_drifted_uS(p, mean_scale, state, age_s))
    return g_uS, p.noise_scale * (p.m3 * g_uS + p.c3_uS)

  return common.device(program, pulse, reset, common.advance,
                       common.gaussian_read(read_stats), read_stats)


def drift(
    g_uS: jax.Array, nu: jax.Array, age_s: jax.Array, t0_s: jax.Array
) -> jax.Array:
  """Returns g (age / T0)^-nu, the conductance `age_s` after programming.

  Source: Nandakumar et al., 2018, eq. 3 (doi:10.1063/1.5042408). The law is
  singular at age 0, so ages below 1 ms count as 1 ms.

  Args:
    g_uS: conductance at age T0.
    nu: drift exponent.
    age_s: time since the last programming event, s.
    t0_s: T0, s.

  Returns:
    Conductance, uS.
  """
  # With a power, a training step without read noise took 1.02 times longer.
  return g_uS * jnp.exp(-nu * _log_age(age_s, t0_s))


def exponent(params: PCMParams, state: PCMState) -> jax.Array:
  """Returns the drift exponents of devices at their present states.

      max(nu + clip(nu_mean + nu_slope ln(g / nu_range), nu_min, nu_max)
          - nu_mean, 0)

  with the nu of each device, which spreads around nu_mean; nu itself where
  nu_slope is the number 0, not traced.

  Source: Joshi et al., 2020 (doi:10.1038/s41467-020-16108-9), constants as in
  aihwkit; see the file's head.

  Args:
    params: scalars.
    state: of an array of devices.

  Returns:
    Dimensionless, shape of the state.
  """
  if _same_exponent(params):
    return state.nu
  # In this order a slope of 0, traced or not, leaves nu as it is.
  return jnp.maximum(state.nu + _nu_shift(params, state), 0.0)


def _log_age(age_s, t0_s):
  """Returns ln(age / T0) of ages of at least MIN_AGE_S."""
  return jnp.log(jnp.maximum(age_s, MIN_AGE_S) / t0_s)


def _same_exponent(p):
  """Returns whether a device has one drift exponent at every state, static."""
  return isinstance(p.nu_slope, (int, float)) and p.nu_slope == 0


def _nu_shift(p, state):
  """Returns how far the mean exponent at the states is from nu_mean."""
  relative = jnp.maximum(state.g_uS, p.g_reset_min_uS) / p.nu_range_uS
  mean = quantization.saturate(
      p.nu_mean + p.nu_slope * jnp.log(relative), p.nu_min, p.nu_max)
  return mean - p.nu_mean


def _mean_drifted_uS(p, mean_scale, state, age_s):
  """Returns the mean of devices whose exponents spread around the state's.

  Exponents are cut at 0 before they shift with the state and after it, which is
  one cut, at the shift where that is positive.
  """
  log_age, std = _log_age(age_s, p.t0_s), mean_scale * p.nu_std
  if _same_exponent(p):
    return state.g_uS * mean_drift.cut(state.nu, std, log_age)
  shift = _nu_shift(p, state)
  return state.g_uS * mean_drift.cut(
      state.nu + shift, std, log_age, jnp.maximum(shift, 0.0))


def program_sigma_uS(params: PCMParams, target_uS: jax.Array) -> jax.Array:
  """Returns the standard deviation of programming to a target, uS.

  Source: Joshi et al., 2020 (doi:10.1038/s41467-020-16108-9), in absolute
  conductance whatever g_max is.
  """
  linear = params.program_p0_uS + params.program_p1 * target_uS
  return linear + params.program_p2_per_uS * jnp.square(target_uS)


def _program(p, mean_scale, key, target_uS):
  """Returns new devices that were programmed to a target."""
  shape = target_uS.shape
  error, spread_nu, spread_step = (
      p.noise_scale * gaussian.normal(key, (3,) + shape))
  target_uS = quantization.saturate(target_uS, p.g_min_uS, p.g_max_uS)
  programmed_uS = common.limited(
      target_uS, program_sigma_uS(p, target_uS), error, mean_scale, p.g_min_uS,
      p.g_max_uS)
  erased, g_uS = common.erased(
      target_uS, p.g_reset_uS, _after_reset_uS(p, mean_scale, error),
      programmed_uS)
  nu = p.nu_mean + p.nu_std * spread_nu
  step = 1.0 + p.step_std * spread_step
  return PCMState(
      g_uS=g_uS,
      pulse_memory=jnp.where(
          erased, jnp.float32(1.0), p.pulse_memory_after_program),
      age_s=jnp.zeros(shape, jnp.float32),
      nu=jnp.maximum(nu, 0.0),
      step=jnp.maximum(step, 0.0),
      num_pulses=jnp.zeros(shape, jnp.float32),
  )


def _reset(p, mean_scale, key, state, mask):
  """Returns the state after a RESET where the mask is true."""
  noise = p.noise_scale * gaussian.normal(key, state.g_uS.shape)
  g_uS = _after_reset_uS(p, mean_scale, noise)
  return state._replace(
      g_uS=jnp.where(mask, g_uS, state.g_uS),
      pulse_memory=jnp.where(mask, 1.0, state.pulse_memory),
      age_s=jnp.where(mask, 0.0, state.age_s),
      num_pulses=jnp.where(mask, 0.0, state.num_pulses),
  )


def _after_reset_uS(p, mean_scale, noise):
  """Returns the conductance that a RESET leaves, N(g0, (s g0)^2) in range."""
  mean_uS = jnp.full_like(noise, p.g_reset_uS)
  return common.limited(mean_uS, p.reset_std * mean_uS, noise, mean_scale,
                        p.g_reset_min_uS, p.g_max_uS)
