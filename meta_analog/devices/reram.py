"""Resistive memory with soft bounds, bidirectional pulses and relaxation.

A pulse moves the conductance G towards a bound, and less the nearer it is:

    up:    G <- G + s_up   ((high - G) / (high - ref) + c N(0, 1))
    down:  G <- G - s_down ((G - low) / (ref - low) + c N(0, 1))

and G stays in [low, high]; c is the spread from cycle to cycle. So n pulses of
one sign bring the mean geometrically nearer to their bound. ref is where a step
has its nominal size. Each device has bounds and steps of its own, drawn when it
is programmed:

    s_up, s_down = |1 + step_std a ± imbalance_std b| step
    high         = ref + (g_max - ref) |1 + high_std c|
    low          = ref - (ref - g_min) |1 + low_std d|

Half of the lower bounds lie below g_min, as in the source, and so do states
that pulses bring there: conductances count from the lower end of the mean
window, and a pair does not see from where. Where a pulsed device is read, it
shows G plus an offset that every train of pulses and every RESET draws afresh
(write noise), N(0, 1) write_std step. A step down is smaller by the share
`imbalance` of a step, or a step up where that is negative.

Source of the pulses: the soft-bounds device of aihwkit 1.1.0 and its preset
ReRamSB (rpu_softbounds_reference_device.cpp, presets/devices.py; a loose fit to
Gong et al., 2018, doi:10.1038/s41467-018-04485-1), in weights w from -0.75 to
1.25. It defines no conductance. Assumed here: w_min and w_max are the ends of
the window that Wan et al. used, 0 and 40 uS, so one unit of w is 20 uS, w = 0
is 15 uS, and the smallest step of the preset, 0.002, is 0.04 uS. Its reference
device is not modelled: a crossbar subtracts pairs.

Programming to a target, and what becomes of it, are those of Wan et al., 2022,
see `reram_relaxation`. There is no drift of the mean. Read noise: 1 % of g_max,
the short-term noise that the same source names. A device that was programmed to
G reads

    max(min(G, 0), G + sqrt(sigma(r, t)^2 - sigma(r, 1 s)^2) z) + write offset

Where the two sources meet, assumed: programming (verified, with pulses of any
height) reaches every target of the window, so bounds of a device that its
programmed state exceeds are widened to that state; its error is part of G. A
target at g_min asks for the RESET state: the device is RESET at a lower bound
of g_min and ends above it by |N(0, 1)| reset_std; a verification leaves it no
write offset. The fits for another ReRAM, CMO/HfOx of 9 to 88 uS, are not mixed
in.
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
from meta_analog.devices import partial_set
from meta_analog.devices import reram_relaxation

BIDIRECTIONAL = True
SIGNED = ('imbalance',)  # parameters that may be negative
# Where w = 0 of the preset lies in its range: 0.75 / (0.75 + 1.25).
REFERENCE = 0.375
# A bound is at least this share of its mean distance from ref; assumed.
MIN_DISTANCE = 0.1

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

  g_min_uS: jax.Array | float = 0.0  # uS, lower end of the window
  g_max_uS: jax.Array | float = 40.0  # uS, its upper end
  step_uS: jax.Array | float = 0.04  # uS, mean step at ref: 0.002 x 20 uS
  # From cycle to cycle.
  cycle_std: jax.Array | float = 3.75  # of a pulse, in steps of the device
  write_std: jax.Array | float = 56.0  # of the offset, in mean steps
  # From device to device, relative.
  step_std: jax.Array | float = 0.3
  imbalance: jax.Array | float = 0.0  # mean: steps down are smaller by it
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
  aim_uS: jax.Array  # uS, the target, or where the last pulses ended
  relaxation: jax.Array  # z of the present state
  age_s: jax.Array  # s, since the last programming event
  num_pulses: jax.Array  # pulses since programming or RESET, of either sign


class Steps(NamedTuple):
  """Steps of one pulse at the present states, uS, all positive."""

  up_uS: jax.Array  # means
  down_uS: jax.Array
  up_sigma_uS: jax.Array  # standard deviations at noise scale 1
  down_sigma_uS: jax.Array


# (params, ref_uS, state) -> Steps
StepsFn = Callable[[Any, jax.Array, ReRamState], Steps]


def make(
    params: ReRamParams = ReRamParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None, steps_fn: StepsFn | None = None,
    reference: float = REFERENCE
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
    steps_fn: law of a pulse; None for `soft_bounds`.
    reference: where ref lies in the window, 0 to 1.

  Returns:
    A `types.Device`.
  """
  p, steps_fn = params, steps_fn or soft_bounds
  ref_uS = p.g_min_uS + reference * (p.g_max_uS - p.g_min_uS)

  def program(key, target_uS):
    return _program(p, ref_uS, mean_scale, key, target_uS)

  def pulse(key, state, num_pulses):
    key_train, key_touch = jax.random.split(key)

    def body(state, i):
      # Not a scan over split keys: batched, the checker calls that a reuse.
      key_i = jax.random.fold_in(key_train, i)
      return _pulse(p, steps_fn(p, ref_uS, state), state, num_pulses, i, key_i,
                    max_pulses, mean_scale), None

    new = jax.lax.scan(body, state, jnp.arange(max_pulses))[0]
    touched = jax.lax.stop_gradient(num_pulses) != 0
    return _touch(p, key_touch, new, touched)

  def reset(key, state, mask):
    return _reset(p, mean_scale, key, state, mask)

  def read_stats(state, elapsed_s):
    relaxed_uS = state.relaxation * reram_relaxation.relaxation_uS(
        p, state.aim_uS, state.age_s + elapsed_s)
    lowest_uS = jax.lax.stop_gradient(jnp.minimum(state.g_uS, 0.0))
    mean_uS = state.write_uS + quantization.saturate(
        state.g_uS + relaxed_uS, lowest_uS, jnp.inf)
    sigma_uS = p.noise_scale * p.read_std * p.g_max_uS
    return (mean_uS, jnp.broadcast_to(sigma_uS, mean_uS.shape).astype(
        mean_uS.dtype))

  return common.device(program, pulse, reset, common.advance,
                       common.gaussian_read(read_stats), read_stats)


def soft_bounds(params: Any, ref_uS: jax.Array, state: ReRamState) -> Steps:
  """Returns the steps of soft bounds; the spread is that of a step at ref."""
  p, g_uS = params, state.g_uS
  low_uS, high_uS = state.low_uS, state.high_uS
  up_uS = state.up_uS * (high_uS - g_uS) / (high_uS - ref_uS)
  down_uS = state.down_uS * (g_uS - low_uS) / (ref_uS - low_uS)
  return Steps(up_uS, down_uS, p.cycle_std * state.up_uS,
               p.cycle_std * state.down_uS)


def _program(p, ref_uS, mean_scale, key, target_uS):
  """Returns new devices that were programmed to a target."""
  shape = target_uS.shape
  error, gain, imbalance, high, low, relaxation = (
      p.noise_scale * gaussian.normal(key, (6,) + shape))
  target_uS = quantization.saturate(target_uS, p.g_min_uS, p.g_max_uS)
  sigma_uS = p.program_scale * reram_relaxation.programming_std_uS(
      p, target_uS, 0)
  erased, g_uS = common.erased(
      target_uS, p.g_min_uS,
      p.g_min_uS + common.folded(p.reset_std_uS, error, mean_scale),
      common.limited(target_uS, sigma_uS, error, mean_scale, 0.0, jnp.inf))
  high_uS = ref_uS + (p.g_max_uS - ref_uS) * _distance(p.high_std * high)
  low_uS = ref_uS - (ref_uS - p.g_min_uS) * _distance(p.low_std * low)
  low_uS = jnp.where(erased, p.g_min_uS, low_uS)
  here_uS = jax.lax.stop_gradient(g_uS)
  gain, imbalance = 1.0 + p.step_std * gain, p.imbalance_std * imbalance
  less_up, less_down = (jnp.maximum(x, 0.0) for x in (-p.imbalance,
                                                       p.imbalance))
  return ReRamState(
      g_uS=g_uS,
      low_uS=jnp.minimum(low_uS, here_uS),
      high_uS=jnp.maximum(high_uS, here_uS),
      up_uS=p.step_uS * jnp.abs(gain + imbalance - less_up),
      down_uS=p.step_uS * jnp.abs(gain - imbalance - less_down),
      write_uS=jnp.zeros(shape, jnp.float32),
      aim_uS=target_uS,
      relaxation=relaxation,
      age_s=jnp.zeros(shape, jnp.float32),
      num_pulses=jnp.zeros(shape, jnp.float32),
  )


def _reset(p, mean_scale, key, state, mask):
  """Returns the state after a RESET where the mask is true."""
  key_level, key_touch = jax.random.split(key)
  noise = p.noise_scale * gaussian.normal(key_level, state.g_uS.shape)
  g_uS = jnp.minimum(
      state.low_uS + common.folded(p.reset_std_uS, noise, mean_scale),
      state.high_uS)
  new = state._replace(
      g_uS=jnp.where(mask, g_uS, state.g_uS),
      num_pulses=jnp.where(mask, 0.0, state.num_pulses))
  return _touch(p, key_touch, new, mask)


def _distance(spread):
  """Returns the distance of a bound from ref, relative to its mean."""
  return jnp.maximum(jnp.abs(1.0 + spread), MIN_DISTANCE)


def _touch(p, key, state, touched):
  """Returns the state with the draws and the age of a new train of pulses."""
  write, relaxation = (
      p.noise_scale * gaussian.normal(key, (2,) + state.g_uS.shape))
  write_uS = p.write_std * p.step_uS * write
  return state._replace(
      write_uS=jnp.where(touched, write_uS, state.write_uS),
      aim_uS=jnp.where(touched, state.g_uS, state.aim_uS),
      relaxation=jnp.where(touched, relaxation, state.relaxation),
      age_s=jnp.where(touched, 0.0, state.age_s))


def _pulse(p, steps, state, num_pulses, i, key, max_pulses, mean_scale):
  """Returns the state after pulse number i of a train of num_pulses."""
  n = jax.lax.stop_gradient(num_pulses)
  active = jnp.abs(n) > i
  g_uS, low_uS, high_uS = state.g_uS, state.low_uS, state.high_uS
  mean_uS = jnp.where(n < 0, -steps.down_uS, steps.up_uS)
  sigma_uS = jnp.where(n < 0, steps.down_sigma_uS, steps.up_sigma_uS)
  normal = p.noise_scale * gaussian.normal(key, g_uS.shape)
  headroom = lambda step: jnp.clip(g_uS + step, low_uS, high_uS) - g_uS
  both_uS = 0.5 * (headroom(steps.up_uS) - headroom(-steps.down_uS))
  slope_uS = jnp.where(n == 0, both_uS, jnp.sign(n) * headroom(mean_uS))
  share = partial_set.count_gradient(num_pulses, i, max_pulses)
  counted_uS = g_uS + share * jax.lax.stop_gradient(slope_uS)
  pulsed_uS = common.limited(
      counted_uS + mean_uS, sigma_uS, normal, mean_scale, low_uS, high_uS)
  return state._replace(
      g_uS=jnp.where(active, pulsed_uS, counted_uS),
      num_pulses=state.num_pulses + active)
