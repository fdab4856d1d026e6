"""Program-and-verify with pulses, RESETs and noisy reads.

The remaining error follows from the device and is not assumed. Rounds of

    act      one pulse or RESET where the error requires it
    wait     delay_s
    read     the mean of num_reads reads spread over read_span_s, times the
             known drift until the date of the target
    latch    a pair or device that once read within tolerance is closed for
             good; so is one without a pulse or RESET left

Without the latch a pair on target would be read until read noise shows it off
target and a pulse moves it there, and one without pulses left until read noise
shows it on target.

A SET-only pair answers an overshoot by pulses on the other polarity, and by
RESET of both where that side has no headroom or the overshoot is so large that
a restart takes fewer pulses. A single SET-only device restarts after any
overshoot. A bidirectional device takes negative pulses.

The controller's estimate is pulsed and RESET alike, and corrected to what was
read, which is better than the mean law of pulses. There is no gradient through
a verification.

Source: the loop as in Papandreou et al., 2011 (doi:10.1109/ISCAS.2011.5937569),
with identical pulses in the place of amplitudes.

Axes: P polarity (plus, minus), D device, I in, O out; U units with a target
each: pairs [I, O] or devices [P, D, I, O].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection
from meta_analog.programming import controller
from meta_analog.programming import verify_options


class Target(NamedTuple):
  """Targets of a verification and the actions that lead there.

  Attributes:
    error_fn: predicted conductances [P, D, I, O] -> error U, uS.
    act_fn: (error U, predicted, counter, may_reset U, options) -> signed pulses
      and RESETs, [P, D, I, O].
    count_fn: [P, D, I, O] -> U, sums over the devices of a unit.
    share_fn: U -> [P, D, I, O], broadcasts to the devices of a unit.
  """

  error_fn: Callable[[jax.Array], jax.Array]
  act_fn: Callable[..., tuple[jax.Array, jax.Array]]
  count_fn: Callable[[jax.Array], jax.Array]
  share_fn: Callable[[jax.Array], jax.Array]


class Progress(NamedTuple):
  """State of a verification."""

  crossbar: array.Crossbar
  predicted_uS: jax.Array  # [P, D, I, O], last read, drifted to the reference
  error_uS: jax.Array  # U, of the last read
  closed: jax.Array  # U, booleans: the latch
  num_pulses: jax.Array  # U
  num_resets: jax.Array  # U, rounds with a RESET
  num_reads: jax.Array  # scalar, reads of one device
  num_rounds: jax.Array  # scalar
  elapsed_s: jax.Array  # scalar, since the start


def pairs(target_uS: jax.Array, *, bidirectional: bool) -> Target:
  """Returns the target of pairs, differences sum_d G+ - sum_d G- [I, O].

  Each round has one pulse, on the next device in order. SET-only: on the side
  that brings the difference nearer. Bidirectional: up or down on the side of
  the sign of the target, so that the other stays low.
  """
  def error_fn(predicted_uS):
    return target_uS - controller.difference(predicted_uS)

  def act_fn(error_uS, predicted_uS, counter, may_reset, options):
    num_devices = predicted_uS.shape[1]
    up = jnp.stack([error_uS > 0, error_uS < 0]).astype(jnp.float32)
    if bidirectional:
      ours = jnp.stack([target_uS >= 0, target_uS < 0])
      signed = jnp.where(ours, up - up[::-1], 0.0)
      turns = device_selection.spread(jnp.abs(signed), num_devices, counter)
      return jnp.sign(signed)[:, None] * turns, jnp.zeros_like(turns, bool)
    # A large difference needs its side high: that is no lack of headroom.
    level_uS = jnp.maximum(options.level_uS, jnp.abs(target_uS) / num_devices)
    full = jnp.mean(predicted_uS, axis=1) > level_uS[None]
    no_headroom = jnp.any((up > 0) & full, axis=0)
    past = -jnp.sign(target_uS) * error_uS > options.overshoot_uS
    restart = (no_headroom | past) & may_reset
    pulses = device_selection.spread(jnp.where(restart, 0.0, up), num_devices,
                                     counter)
    return pulses, jnp.broadcast_to(restart, pulses.shape)

  return Target(error_fn, act_fn, lambda a: jnp.sum(a, axis=(0, 1)),
                lambda u: u[None, None])


def devices(
    targets_uS: jax.Array, *, bidirectional: bool,
    lowest_uS: jax.Array | float = 0.0
) -> Target:
  """Returns the target of single devices [P, D, I, O], one pulse a round.

  SET-only: a device that overshot is RESET while RESETs are left. One whose
  target is not above `lowest_uS`, the RESET state, gets no pulse: it is RESET,
  or left as it is where it reads lower.
  """
  def error_fn(predicted_uS):
    return targets_uS - predicted_uS

  def act_fn(error_uS, predicted_uS, counter, may_reset, options):
    del predicted_uS, counter, options
    if bidirectional:
      return jnp.sign(error_uS), jnp.zeros_like(error_uS, bool)
    past = error_uS < 0
    rises = ~past & (targets_uS > lowest_uS)
    return jnp.where(rises, 1.0, 0.0), past & may_reset

  return Target(error_fn, act_fn, lambda a: a, lambda u: u)


def start(key: jax.Array,
          device: types.Device,
          noise_free: types.Device,
          crossbar: array.Crossbar,
          target: Target,
          options: verify_options.VerifyOptions,
          horizon_s: jax.Array,
          touched: jax.Array | bool = True) -> Progress:
  """Returns the first read of a verification; see `program_and_verify`."""
  zero = target.error_fn(jnp.zeros(
      crossbar.usage.num_pulses.shape, jnp.float32)) * 0.0
  nothing = Progress(
      crossbar=crossbar, predicted_uS=crossbar.usage.num_pulses * 0.0,
      error_uS=zero, closed=(zero > 0) | ~jnp.asarray(touched),
      num_pulses=zero, num_resets=zero,
      num_reads=jnp.float32(0.0), num_rounds=jnp.int32(0),
      elapsed_s=jnp.float32(0.0))
  return read_and_latch(
      key, device, noise_free, nothing, target, options, horizon_s)


def read_and_latch(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    progress: Progress, target: Target, options: verify_options.VerifyOptions,
    horizon_s: jax.Array
) -> Progress:
  """Returns progress after a delay, a read of open units and the latch."""
  wait_s = options.delay_s + options.read_span_s
  elapsed_s = progress.elapsed_s + wait_s
  crossbar = array.advance(device, noise_free, progress.crossbar, wait_s)
  mean_uS, crossbar = controller.measure(
      key, device, crossbar, options.num_reads, options.fresh_share)
  drift = controller.known_drift(noise_free, crossbar, horizon_s - elapsed_s)
  shape = mean_uS.shape
  open_ = jnp.broadcast_to(target.share_fn(~progress.closed), shape)
  predicted_uS = jnp.where(
      open_, mean_uS * drift ** options.drift_correction, progress.predicted_uS)
  error_uS = jnp.where(
      progress.closed, progress.error_uS, target.error_fn(predicted_uS))
  return progress._replace(
      crossbar=controller.correct_estimate(
          noise_free, crossbar, mean_uS, open_),
      predicted_uS=predicted_uS, error_uS=error_uS,
      closed=progress.closed | (jnp.abs(error_uS) <= options.tolerance_uS),
      num_reads=progress.num_reads + options.num_reads * jnp.sum(open_),
      elapsed_s=elapsed_s)


def pulse_or_reset(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    progress: Progress, target: Target, options: verify_options.VerifyOptions
) -> Progress:
  """Returns progress after a pulse or RESET of open units that have one."""
  key_pulse, key_reset = jax.random.split(key)
  crossbar, shape = progress.crossbar, progress.predicted_uS.shape
  left = options.max_pulses - progress.num_pulses
  may_reset = progress.num_resets < options.max_resets
  pulses, resets = target.act_fn(
      progress.error_uS, progress.predicted_uS, crossbar.counter, may_reset,
      options)
  open_ = jnp.broadcast_to(
      target.share_fn(~progress.closed & (left > 0)), shape)
  pulses, resets = jnp.where(open_, pulses, 0.0), resets & open_
  new = array.pulse_devices(key_pulse, device, noise_free, crossbar, pulses)
  new = array.reset_devices(key_reset, device, noise_free, new, resets)
  given = jnp.abs(pulses)
  pulsed = target.count_fn(given)
  was_reset = target.count_fn(resets.astype(jnp.float32)) > 0
  counter = device_selection.advance(crossbar.counter, given)
  return progress._replace(
      crossbar=new._replace(counter=counter),
      closed=progress.closed | ((pulsed == 0) & ~was_reset),
      num_pulses=progress.num_pulses + pulsed,
      num_resets=progress.num_resets + was_reset,
      num_rounds=progress.num_rounds + 1)


def program_and_verify(
    key: jax.Array,
    device: types.Device,
    noise_free: types.Device,
    crossbar: array.Crossbar,
    target: Target,
    options: verify_options.VerifyOptions,
    horizon_s: jax.Array,
    touched: jax.Array | bool = True) -> tuple[array.Crossbar, types.Info]:
  """Returns the crossbar after program-and-verify.

  Args:
    key: consumed.
    device: the technology; one pulse per call is enough.
    noise_free: the technology without noise.
    crossbar: state, `initial_programming.blank` or one to be corrected.
    target: from `pairs` or `devices`.
    options: see `verify_options.check`.
    horizon_s: from now, the start, to the date of the target, not before the
      end.
    touched: U, booleans: all other units are neither read nor pulsed, and count
      as finished without an error.

  Returns:
    New `Crossbar`, as it is at the end, and 'num_pulses' U, 'num_resets' U,
    'num_reads' (of one device each), 'num_rounds', 'finished' U, 'converged'
    (share of U), 'residual_uS' U (as last read, not the true one) and
    'elapsed_s', from the start to the end.
  """
  key_start, key_loop = jax.random.split(key)
  begun = start(key_start, device, noise_free, crossbar, target, options,
                horizon_s, touched)

  def goes_on(progress):
    return (jnp.any(~progress.closed)
            & (progress.num_rounds < options.max_rounds))

  def one_round(progress):
    key_act, key_read = jax.random.split(
        jax.random.fold_in(key_loop, progress.num_rounds))
    acted = pulse_or_reset(
        key_act, device, noise_free, progress, target, options)
    return read_and_latch(
        key_read, device, noise_free, acted, target, options, horizon_s)

  done = jax.lax.while_loop(goes_on, one_round, begun)
  finished = jnp.abs(done.error_uS) <= options.tolerance_uS
  return done.crossbar, {
      'num_pulses': done.num_pulses, 'num_resets': done.num_resets,
      'num_reads': done.num_reads, 'num_rounds': done.num_rounds,
      'finished': finished, 'converged': jnp.mean(finished),
      'residual_uS': done.error_uS, 'elapsed_s': done.elapsed_s}
