"""Ways to program a crossbar and to write a wanted weight change to it.

A chip is programmed by the statistics of its technology, which stand for a
procedure that nobody models, or by program-and-verify from RESET, so that no
state is assumed that pulses cannot reach. A `WriteFn` is handed what is wanted,
not how many pulses:

    open loop   blind pulse trains, by the controller's table of mean effects
    verified    program-and-verify of the pairs that the open loop would pulse,
                until noisy reads agree with the wanted difference

each after a refresh of pairs that ran out of room, where one is asked for.
Reads pass the device's own noise; no true state decides anything.

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import budgets
from meta_analog import controller
from meta_analog import crossbar as xbar
from meta_analog import programming
from meta_analog import quantize
from meta_analog import refresh
from meta_analog import verification


class Request(NamedTuple):
  """What is wanted of one layer."""

  delta_w: jax.Array  # [I, O], change of the arrays' weights
  encode_fn: Callable[[xbar.Crossbar, jax.Array], jax.Array]
  # (crossbar, delta_w) -> signed pulses [I, O], by the controller's table
  write_s: jax.Array  # chip time
  reference_s: jax.Array  # chip time that predictions are wanted for


class Counts(NamedTuple):
  """What a write did, summed over devices."""

  pulses: jax.Array
  resets: jax.Array
  reads: jax.Array
  devices: jax.Array  # that got a pulse or a RESET


# (key, device, model, targets_uS [P, D, I, O], gain_per_uS)
#     -> (crossbar, Counts)
ProgramFn = Callable[
    [jax.Array, base.Device, base.Device, jax.Array, jax.Array],
    tuple[xbar.Crossbar, Counts]]
# (key, device, model, crossbar, request) -> (crossbar, Counts)
WriteFn = Callable[
    [jax.Array, base.Device, base.Device, xbar.Crossbar, Request],
    tuple[xbar.Crossbar, Counts]]
RefreshFn = Callable[
    [jax.Array, base.Device, base.Device, xbar.Crossbar, Request],
    'Refreshed']


class Refreshed(NamedTuple):
  """What a refresh leaves."""

  crossbar: xbar.Crossbar
  request: Request  # what is still wanted, and how it is turned into pulses
  touched: jax.Array  # [I, O], booleans: pairs of which a side was RESET
  reads: jax.Array  # scalar, of one device each
  known_uS: jax.Array | None  # [P, D, I, O], as read before it, where it read


def statistical(key, device, model, targets_uS, gain_per_uS):
  """A `ProgramFn`: the technology's own statistics, at time 0; no counts."""
  crossbar = xbar.program(
      key, device, model, targets_uS, gain_per_uS, jnp.float32(0.0))
  return crossbar, Counts(*(jnp.float32(0.0),) * 4)


def verified_program(
    budget: budgets.Budget, reference_s: float, *, bidirectional: bool
) -> ProgramFn:
  """Returns program-and-verify from RESET, by pairs, that ends by time 0.

  The differences are those of the targets, the common part of a pair is what
  the pulses leave. There is no gradient to the targets.

  Args:
    budget: see `budgets.check`.
    reference_s: chip time that the differences are wanted for.
    bidirectional: whether the device takes negative pulses.

  Returns:
    A `ProgramFn`.
  """
  start_s = -budgets.longest_s(budget)

  def program_fn(key, device, model, targets_uS, gain_per_uS):
    key_blank, key_verify = jax.random.split(key)
    wanted_uS = jax.lax.stop_gradient(controller.difference(targets_uS))
    blank = programming.blank(
        key_blank, device, model, targets_uS.shape, gain_per_uS,
        jnp.float32(start_s))
    crossbar, info = verification.verify(
        key_verify, device, model, jax.lax.stop_gradient(blank),
        verification.pairs(wanted_uS, bidirectional=bidirectional), budget,
        jnp.float32(start_s), jnp.float32(reference_s))
    counts = count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, info['num_reads'])
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def no_refresh(key, device, model, crossbar, request):
  """A `RefreshFn` that leaves everything as it is."""
  del key, device, model
  return Refreshed(crossbar, request, jnp.zeros(request.delta_w.shape, bool),
                   jnp.float32(0.0), None)


def threshold_refresh(
    rule: refresh.Threshold, *, num_reads: int, fresh_share: float,
    num_levels: int
) -> RefreshFn:
  """Returns the refresh of `refresh.by_threshold`, decided by noisy reads.

  Args:
    rule: levels.
    num_reads: averaged for the decision.
    fresh_share: of each, see `controller.measure`.
    num_levels: most pulses that write a pair anew.

  Returns:
    A `RefreshFn`.
  """
  def refresh_fn(key, device, model, crossbar, request):
    key_read, key_write = jax.random.split(key)
    known_uS = _measure(
        key_read, device, crossbar, request, num_reads, fresh_share)
    crossbar, info = refresh.by_threshold(
        key_write, device, model, crossbar, known_uS, rule, request.write_s,
        request.reference_s, num_levels=num_levels)
    return Refreshed(crossbar, request, info['refreshed'],
                     jnp.float32(num_reads * known_uS.size), known_uS)

  return refresh_fn


def update_ready_refresh(
    rule: refresh.UpdateReady, *, num_reads: int, fresh_share: float,
    num_levels: int
) -> RefreshFn:
  """Returns the refresh of `refresh.by_update_ready`, by noisy reads.

  What a refreshed pair lost is written with up to num_levels pulses, by the
  controller's table: the rule of adaptation may have no more than one.

  Args:
    rule: levels.
    num_reads: averaged for the decision.
    fresh_share: of each, see `controller.measure`.
    num_levels: most pulses that write a pair anew.

  Returns:
    A `RefreshFn`.
  """
  def refresh_fn(key, device, model, crossbar, request):
    key_read, key_write = jax.random.split(key)
    known_uS = _measure(
        key_read, device, crossbar, request, num_reads, fresh_share)
    crossbar, aimed, info = refresh.by_update_ready(
        key_write, device, model, crossbar, known_uS, request.delta_w, rule,
        request.write_s, request.reference_s)
    touched = jnp.any(info['refreshed'], axis=0)

    def encode_fn(crossbar, delta_w):
      anew = controller.nearest_pulses(
          model, crossbar, delta_w, request.write_s, request.reference_s,
          num_levels)
      return jnp.where(touched, anew, request.encode_fn(crossbar, delta_w))

    return Refreshed(
        crossbar, request._replace(delta_w=aimed, encode_fn=encode_fn), touched,
        jnp.float32(num_reads * known_uS.size), known_uS)

  return refresh_fn


def open_loop(refresh_fn: RefreshFn = no_refresh) -> WriteFn:
  """Returns blind pulse trains, after a refresh."""
  def write_fn(key, device, model, crossbar, request):
    key_refresh, key_pulse = jax.random.split(key)
    begun = refresh_fn(key_refresh, device, model, crossbar, request)
    new, _ = _pulse_blindly(key_pulse, device, model, begun)
    return new, count(crossbar, new, begun.reads)

  return write_fn


def verified(
    budget: budgets.Budget,
    refresh_fn: RefreshFn = no_refresh,
    *,
    bidirectional: bool,
) -> WriteFn:
  """Returns program-and-verify, differentiated as the open loop.

  Only pairs that were refreshed or that the open loop would pulse are touched,
  read and believed. Their wanted difference is what was read before the
  refresh, by the known drift, plus the change: what a refresh wrote amiss is an
  error like any other.

  Args:
    budget: of each pair.
    refresh_fn: comes first.
    bidirectional: whether the device takes negative pulses.

  Returns:
    A `WriteFn`.
  """
  def write_fn(key, device, model, crossbar, request):
    key_refresh, key_pulse, key_read, key_verify = jax.random.split(key, 4)
    begun = refresh_fn(key_refresh, device, model, crossbar, request)
    surrogate, num_pulses = _pulse_blindly(key_pulse, device, model, begun)
    touched = begun.touched | (jax.lax.stop_gradient(num_pulses) != 0)
    known_uS, reads = begun.known_uS, begun.reads
    if known_uS is None:
      known_uS = _measure(key_read, device, crossbar, request,
                          budget.num_reads, budget.fresh_share)
      reads = reads + budget.num_reads * jnp.sum(
          jnp.broadcast_to(touched, known_uS.shape))
    fixed = jax.lax.stop_gradient
    wanted_uS = _wanted_uS(
        model, fixed(crossbar), known_uS, request, fixed(request.delta_w))
    new, info = verification.verify(
        key_verify, device, model, fixed(begun.crossbar),
        verification.pairs(wanted_uS, bidirectional=bidirectional), budget,
        request.write_s, request.reference_s, touched)
    counts = count(crossbar, new, reads + info['num_reads'])
    return jax.tree.map(_straight_through, new, surrogate), counts

  return write_fn


def _pulse_blindly(key, device, model, begun):
  """Returns the crossbar after the open loop's pulses, and these [I, O]."""
  crossbar, request = begun.crossbar, begun.request
  num_pulses = request.encode_fn(crossbar, request.delta_w)
  new = xbar.pulse(key, device, model, crossbar, num_pulses, request.write_s)
  return new, num_pulses


def _wanted_uS(model, crossbar, known_uS, request, delta_w):
  """Returns the differences [I, O] wanted at the reference time."""
  drift = controller.known_drift(
      model, crossbar, request.write_s, request.reference_s)
  return (controller.difference(known_uS * drift)
          + delta_w / crossbar.gain_per_uS)


def _measure(key, device, crossbar, request, num_reads, fresh_share):
  """Returns the mean of noisy reads [P, D, I, O], without a gradient."""
  return controller.measure(
      key, device, jax.lax.stop_gradient(crossbar), request.write_s, num_reads,
      fresh_share)


def _straight_through(value, surrogate):
  if jnp.issubdtype(value.dtype, jnp.inexact):
    return quantize.straight_through(value, surrogate)
  return value


def count(
    before: xbar.Crossbar, after: xbar.Crossbar, reads: jax.Array
) -> Counts:
  """Returns the counts of a write, from the wear of the devices."""
  pulses, resets = (jax.lax.stop_gradient(b - a) for a, b in zip(
      before.wear, after.wear))
  touched = ((pulses != 0) | (resets != 0)).astype(jnp.float32)
  return Counts(pulses=jnp.sum(pulses), resets=jnp.sum(resets), reads=reads,
                devices=jnp.sum(touched))
