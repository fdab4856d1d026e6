"""Resistive memory with soft bounds, bidirectional pulses and relaxation.

A pulse moves the conductance G towards a bound, and less the nearer it is:

    up:    G <- G + s_up   ((high - G) / (high - ref) + c N(0, 1))
    down:  G <- G - s_down ((G - low) / (ref - low) + c N(0, 1))

and G stays in [low, high]; c is the spread from cycle to cycle. So n pulses of
one sign bring the mean geometrically nearer to their bound. ref is where a step
has its nominal size. Each device has bounds and steps of its own, drawn when it
is programmed:

    s_up, s_down = |1 + step_std a ± imbalance_std b| step
    high         = ref + (g_max - ref) (1 + high_std c)
    low          = ref - (ref - g_min) (1 + low_std d),  at least 0

where a pulsed device is read, it shows G plus an offset that every train of
pulses and every RESET draws afresh (write noise), N(0, 1) write_std step.

Source of the pulses: the soft-bounds device of aihwkit 1.1.0 and its preset
ReRamSB (rpu_softbounds_reference_device.cpp, presets/devices.py; a loose fit to
Gong et al., 2018, doi:10.1038/s41467-018-04485-1), in weights w from -0.75 to
1.25. It defines no conductance. Assumed here: w_min and w_max are the ends of
the window that Wan et al. used, 0 and 40 uS, so one unit of w is 20 uS, w = 0
is 15 uS, and the smallest step of the preset, 0.002, is 0.04 uS. Its reference
device is not modelled: a crossbar subtracts pairs.

Programming to a target, and what becomes of it, are those of Wan et al., 2022
(doi:10.1038/s41586-022-04992-8): the standard deviation from the target
sigma(r, t),
r = G / g_max, at 1 s, 1 day and 2 days, as polynomials fitted in aihwkit
1.1.0 (inference/noise/reram.py) at g_max = 40 uS. They are scaled with g_max
here, which the source means to do and does not. Between these times the
variance is taken as linear in ln t; it stays as it is before the first and
after the last, and never shrinks (the last two fits cross by up to 0.06 uS):

    G(t) = max(0, G + write offset + sqrt(sigma(r, t)^2 - sigma(r, 1 s)^2) z)

with one z per device, drawn at programming and afresh by a train of pulses or a
RESET. The fits are functions of the target; here of the present G, which pulses
change. There is no drift of the mean. Read noise: 1 % of g_max, the short-term
noise that the same source names.

Where the two sources meet, assumed: programming (verified, with pulses of any
height) reaches every target of the window, so bounds of a device that its
programmed state exceeds are widened to that state; its error is part of G. A
target at g_min asks for the RESET state: the device is RESET at a lower bound
of g_min and ends above it by |N(0, 1)| reset_std; a verification leaves it no
write offset.
The fits for another ReRAM, CMO/HfOx of 9 to 88 uS, are not mixed in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import partial_set

BIDIRECTIONAL = True
# Where w = 0 of the preset lies in its range: 0.75 / (0.75 + 1.25).
REFERENCE = 0.375
# A bound is at least this share of its mean distance from ref; assumed.
MIN_DISTANCE = 0.1
# sigma(r) in uS at g_max = 40 uS: coefficients of r^0 to r^4 at each time.
SIGMA_RANGE_uS = 40.0
SIGMA_TIMES_S = (1.0, 86400.0, 172800.0)
SIGMA_uS = (
    (0.348, 16.030, -43.853, 45.393, -16.815),  # 1 s
    (0.701, 22.086, -50.773, 47.095, -16.458),  # 1 day
    (0.782, 20.274, -43.507, 37.062, -11.934),  # 2 days
)

# The parameters that each source of noise is proportional to. There is no drift
# of the mean: its spread is what devices relax by.
NOISE = {
    'program': ('program_scale',),
    'read': ('read_std',),
    'write': ('cycle_std', 'write_std', 'step_std', 'imbalance_std',
              'high_std', 'low_std', 'reset_std_uS'),
    'drift_spread': ('relax_scale',),
}


class ReRamParams(NamedTuple):
  """Parameters, all traced; their sources stand at the head of the file."""

  g_min_uS: jax.Array | float = 0.0  # uS, the window
  g_max_uS: jax.Array | float = 40.0  # uS
  step_uS: jax.Array | float = 0.04  # uS, mean step at ref: 0.002 x 20 uS
  # From cycle to cycle.
  cycle_std: jax.Array | float = 3.75  # of a pulse, in steps of the device
  write_std: jax.Array | float = 56.0  # of the offset, in mean steps
  # From device to device, relative.
  step_std: jax.Array | float = 0.3
  imbalance_std: jax.Array | float = 0.01  # between steps up and down
  high_std: jax.Array | float = 0.24  # of high - ref
  low_std: jax.Array | float = 0.4  # of ref - low
  # Scales of sigma(r, 1 s) and of what is added to it with time.
  program_scale: jax.Array | float = 1.0
  relax_scale: jax.Array | float = 1.0
  read_std: jax.Array | float = 0.01  # of g_max
  # RESET ends above low by |N(0, 1)| of this; 0.01 x 20 uS, aihwkit's default.
  reset_std_uS: jax.Array | float = 0.2
  noise_scale: jax.Array | float = 1.0  # multiplies every standard deviation


class ReRamState(NamedTuple):
  """State of an array of devices; all fields have the array's shape."""

  g_uS: jax.Array  # uS, in [low, high]
  low_uS: jax.Array  # uS, bounds of this device
  high_uS: jax.Array
  up_uS: jax.Array  # uS, mean step of this device at ref
  down_uS: jax.Array
  write_uS: jax.Array  # uS, offset since the last pulses
  relaxation: jax.Array  # z of the present state
  age_s: jax.Array  # s, since the last programming event
  num_pulses: jax.Array  # pulses since programming or RESET, of either sign


def make(
    params: ReRamParams = ReRamParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the ReRAM device with these parameters.

  Straight-through gradients, where physics is not differentiable: the number
  of pulses is differentiated as the mean step at the state where the train
  ends, in its direction; where there is no train, as the mean of a step up and
  one down. A state that was clipped at a bound passes no gradient.

  Args:
    params: scalars.
    max_pulses: most pulses in one call of `pulse`, of either sign, static.
    mean_scale: None; or, with params.noise_scale = 0, the noise scale of the
      devices whose mean this noise-free one follows, see `common.limited`.

  Returns:
    A `types.Device`.
  """
  p = params
  ref_uS = p.g_min_uS + REFERENCE * (p.g_max_uS - p.g_min_uS)

  def program(key, target_uS):
    return _program(p, ref_uS, mean_scale, key, target_uS)

  def pulse(key, state, num_pulses):
    key_train, key_touch = jax.random.split(key)

    def body(state, i):
      # Not a scan over split keys: batched, the checker calls that a reuse.
      key_i = jax.random.fold_in(key_train, i)
      return _pulse(p, ref_uS, state, num_pulses, i, key_i, max_pulses,
                    mean_scale), None

    new = jax.lax.scan(body, state, jnp.arange(max_pulses))[0]
    touched = jax.lax.stop_gradient(num_pulses) != 0
    return _touch(p, key_touch, new, touched)

  def reset(key, state, mask):
    key_level, key_touch = jax.random.split(key)
    noise = p.noise_scale * gaussian.normal(key_level, state.g_uS.shape)
    g_uS = jnp.minimum(
        state.low_uS + common.folded(p.reset_std_uS, noise, mean_scale),
        state.high_uS)
    new = state._replace(
        g_uS=jnp.where(mask, g_uS, state.g_uS),
        num_pulses=jnp.where(mask, 0.0, state.num_pulses))
    return _touch(p, key_touch, new, mask)

  def read_stats(state, elapsed_s):
    moved_uS = relaxation_uS(p, state.g_uS, state.age_s + elapsed_s)
    mean_uS = state.g_uS + state.write_uS + moved_uS * state.relaxation
    sigma_uS = p.noise_scale * p.read_std * p.g_max_uS
    return (quantization.saturate(mean_uS, 0.0, jnp.inf),
            jnp.broadcast_to(sigma_uS, mean_uS.shape).astype(mean_uS.dtype))

  return common.device(program, pulse, reset, common.advance,
                       common.gaussian_read(read_stats), read_stats)


def programming_std_uS(
    params: ReRamParams, g_uS: jax.Array, when: int
) -> jax.Array:
  """Returns the standard deviation from the target at SIGMA_TIMES_S[when], uS.

      sigma(r) = (c0 + c1 r + c2 r^2 + c3 r^3 + c4 r^4) g_max / 40 uS

  Source: Wan et al., 2022 (doi:10.1038/s41586-022-04992-8), as fitted in
  aihwkit 1.1.0. r = g / g_max is limited to [0, 1], where the fit was made.
  """
  r = jnp.clip(g_uS / params.g_max_uS, 0.0, 1.0)
  total = 0.0
  for coefficient in reversed(SIGMA_uS[when]):
    total = total * r + coefficient
  return total * params.g_max_uS / SIGMA_RANGE_uS


def relaxation_uS(
    params: ReRamParams, g_uS: jax.Array, age_s: jax.Array
) -> jax.Array:
  """Returns the standard deviation of relaxation since 1 s after programming.

      sqrt(sigma(r, t)^2 - sigma(r, 1 s)^2) relax_scale

  with a variance that is linear in ln t between the times of the fits.

  Args:
    params: scalars.
    g_uS: conductance.
    age_s: time since the last programming event, s.

  Returns:
    Standard deviation, uS; 0 up to an age of 1 s, constant from 2 days on.
  """
  start, day, two_days = (
      jnp.square(programming_std_uS(params, g_uS, when)) for when in range(3))
  first = jnp.maximum(day - start, 0.0)
  second = jnp.maximum(two_days - start, first)
  log_age = jnp.log(jnp.clip(age_s, SIGMA_TIMES_S[0], SIGMA_TIMES_S[2]))
  log_s = [jnp.log(jnp.float32(time_s)) for time_s in SIGMA_TIMES_S]
  share = [jnp.clip((log_age - a) / (b - a), 0.0, 1.0)
           for a, b in zip(log_s[:-1], log_s[1:])]
  variance = share[0] * first + share[1] * (second - first)
  moved = variance > 0
  root = jnp.sqrt(jnp.where(moved, variance, 1.0))  # no infinite slope at 0
  return params.relax_scale * jnp.where(moved, root, 0.0)


def _program(p, ref_uS, mean_scale, key, target_uS):
  """Returns new devices that were programmed to a target."""
  shape = target_uS.shape
  error, gain, imbalance, high, low, relaxation = (
      p.noise_scale * gaussian.normal(key, (6,) + shape))
  target_uS = quantization.saturate(target_uS, p.g_min_uS, p.g_max_uS)
  sigma_uS = p.program_scale * programming_std_uS(p, target_uS, 0)
  erased, g_uS = common.erased(
      target_uS, p.g_min_uS,
      p.g_min_uS + common.folded(p.reset_std_uS, error, mean_scale),
      common.limited(target_uS, sigma_uS, error, mean_scale, 0.0, jnp.inf))
  high_uS = ref_uS + (p.g_max_uS - ref_uS) * _distance(p.high_std * high)
  low_uS = ref_uS - (ref_uS - p.g_min_uS) * _distance(p.low_std * low)
  low_uS = jnp.where(erased, p.g_min_uS, jnp.maximum(low_uS, 0.0))
  here_uS = jax.lax.stop_gradient(g_uS)
  gain, imbalance = 1.0 + p.step_std * gain, p.imbalance_std * imbalance
  return ReRamState(
      g_uS=g_uS,
      low_uS=jnp.minimum(low_uS, here_uS),
      high_uS=jnp.maximum(high_uS, here_uS),
      up_uS=p.step_uS * jnp.abs(gain + imbalance),
      down_uS=p.step_uS * jnp.abs(gain - imbalance),
      write_uS=jnp.zeros(shape, jnp.float32),
      relaxation=relaxation,
      age_s=jnp.zeros(shape, jnp.float32),
      num_pulses=jnp.zeros(shape, jnp.float32),
  )


def _distance(spread):
  """Returns the distance of a bound from ref, relative to its mean."""
  return jnp.maximum(1.0 + spread, MIN_DISTANCE)


def _touch(p, key, state, touched):
  """Returns the state with the draws and the age of a new train of pulses."""
  write, relaxation = (
      p.noise_scale * gaussian.normal(key, (2,) + state.g_uS.shape))
  write_uS = p.write_std * p.step_uS * write
  return state._replace(
      write_uS=jnp.where(touched, write_uS, state.write_uS),
      relaxation=jnp.where(touched, relaxation, state.relaxation),
      age_s=jnp.where(touched, 0.0, state.age_s))


def _pulse(p, ref_uS, state, num_pulses, i, key, max_pulses, mean_scale):
  """Returns the state after pulse number i of a train of num_pulses."""
  n = jax.lax.stop_gradient(num_pulses)
  active = jnp.abs(n) > i
  g_uS, low_uS, high_uS = state.g_uS, state.low_uS, state.high_uS
  up_uS = state.up_uS * (high_uS - g_uS) / (high_uS - ref_uS)
  down_uS = state.down_uS * (g_uS - low_uS) / (ref_uS - low_uS)
  mean_uS = jnp.where(n < 0, -down_uS, up_uS)
  step_uS = jnp.where(n < 0, state.down_uS, state.up_uS)
  normal = p.noise_scale * gaussian.normal(key, g_uS.shape)
  headroom = lambda step: jnp.clip(g_uS + step, low_uS, high_uS) - g_uS
  both_uS = 0.5 * (headroom(up_uS) - headroom(-down_uS))
  slope_uS = jnp.where(n == 0, both_uS, jnp.sign(n) * headroom(mean_uS))
  share = partial_set.count_gradient(num_pulses, i, max_pulses)
  counted_uS = g_uS + share * jax.lax.stop_gradient(slope_uS)
  pulsed_uS = common.limited(
      counted_uS + mean_uS, p.cycle_std * step_uS, normal, mean_scale, low_uS,
      high_uS)
  return state._replace(
      g_uS=jnp.where(active, pulsed_uS, counted_uS),
      num_pulses=state.num_pulses + active)
