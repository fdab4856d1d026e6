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
# The same, but the change that is still wanted and the reads come with it.
RefreshFn = Callable[
    [jax.Array, base.Device, base.Device, xbar.Crossbar, Request],
    tuple[xbar.Crossbar, Request, jax.Array]]


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
    counts = _count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, info['num_reads'])
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def no_refresh(key, device, model, crossbar, request):
  """A `RefreshFn` that leaves everything as it is."""
  del key, device, model
  return crossbar, request, jnp.float32(0.0)


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
    crossbar, _ = refresh.by_threshold(
        key_write, device, model, crossbar, known_uS, rule, request.write_s,
        request.reference_s, num_levels=num_levels)
    return crossbar, request, jnp.float32(num_reads * known_uS.size)

  return refresh_fn


def update_ready_refresh(
    rule: refresh.UpdateReady, *, num_reads: int, fresh_share: float
) -> RefreshFn:
  """Returns the refresh of `refresh.by_update_ready`, by noisy reads."""
  def refresh_fn(key, device, model, crossbar, request):
    key_read, key_write = jax.random.split(key)
    known_uS = _measure(
        key_read, device, crossbar, request, num_reads, fresh_share)
    crossbar, aimed, _ = refresh.by_update_ready(
        key_write, device, model, crossbar, known_uS, request.delta_w, rule,
        request.write_s, request.reference_s)
    return (crossbar, request._replace(delta_w=aimed),
            jnp.float32(num_reads * known_uS.size))

  return refresh_fn


def open_loop(refresh_fn: RefreshFn = no_refresh) -> WriteFn:
  """Returns blind pulse trains, after a refresh."""
  def write_fn(key, device, model, crossbar, request):
    key_refresh, key_pulse = jax.random.split(key)
    new, request, reads = refresh_fn(
        key_refresh, device, model, crossbar, request)
    num_pulses = request.encode_fn(new, request.delta_w)
    new = xbar.pulse(
        key_pulse, device, model, new, num_pulses, request.write_s)
    return new, _count(crossbar, new, reads)

  return write_fn


def verified(
    budget: budgets.Budget,
    refresh_fn: RefreshFn = no_refresh,
    *,
    bidirectional: bool,
) -> WriteFn:
  """Returns program-and-verify, differentiated as the open loop.

  Only pairs that the open loop would pulse are touched, read with num_reads
  first; their wanted difference is what was read, by the known drift, plus the
  change.

  Args:
    budget: of each pair.
    refresh_fn: comes first.
    bidirectional: whether the device takes negative pulses.

  Returns:
    A `WriteFn`.
  """
  blind = open_loop()

  def write_fn(key, device, model, crossbar, request):
    key_refresh, key_pulse, key_read, key_verify = jax.random.split(key, 4)
    start, request, reads = refresh_fn(
        key_refresh, device, model, crossbar, request)
    surrogate, _ = blind(key_pulse, device, model, start, request)
    fixed = jax.lax.stop_gradient
    before, wanted = fixed((start, request.delta_w))
    touched = fixed(request.encode_fn(start, request.delta_w)) != 0
    read_uS = _measure(key_read, device, before, request, budget.num_reads,
                       budget.fresh_share)
    drift = controller.known_drift(
        model, before, request.write_s, request.reference_s)
    wanted_uS = (controller.difference(read_uS * drift)
                 + wanted / before.gain_per_uS)
    new, info = verification.verify(
        key_verify, device, model, before,
        _only(verification.pairs(wanted_uS, bidirectional=bidirectional),
              touched),
        budget, request.write_s, request.reference_s)
    counts = _count(
        crossbar, new, reads + info['num_reads']
        + budget.num_reads * read_uS.shape[0] * read_uS.shape[1]
        * jnp.sum(touched))
    return jax.tree.map(_straight_through, new, surrogate), counts

  return write_fn


def _only(target, touched):
  """Returns the target with no error where nothing is to be written."""
  return target._replace(error_fn=lambda g_uS: jnp.where(
      touched, target.error_fn(g_uS), 0.0))


def _measure(key, device, crossbar, request, num_reads, fresh_share):
  """Returns the mean of noisy reads [P, D, I, O], without a gradient."""
  return controller.measure(
      key, device, jax.lax.stop_gradient(crossbar), request.write_s, num_reads,
      fresh_share)


def _straight_through(value, surrogate):
  if jnp.issubdtype(value.dtype, jnp.inexact):
    return quantize.straight_through(value, surrogate)
  return value


def _count(before, after, reads):
  """Returns the counts of a write, from the wear of the devices."""
  pulses, resets = (jax.lax.stop_gradient(b - a) for a, b in zip(
      before.wear, after.wear))
  touched = ((pulses != 0) | (resets != 0)).astype(jnp.float32)
  return Counts(pulses=jnp.sum(pulses), resets=jnp.sum(resets), reads=reads,
                devices=jnp.sum(touched))
