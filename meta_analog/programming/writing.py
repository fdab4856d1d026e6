"""Writing a weight change: open-loop, verified, after a refresh, or exact.

A `protocols.WriteFn` is given the target change, not the number of pulses:

    open loop   pulse trains without reads, by the table of mean pulse responses
    verified    program-and-verify of the pairs that the open loop would pulse,
                until noisy reads agree with the target difference

each after a refresh of pairs without headroom, if there is one. Reads have the
device's own noise; no decision uses a true state.

An exact write, for a float reference, makes the target change itself:

    G+ <- G+ + max(dW, 0) / (gain D),   G- <- G- + max(-dW, 0) / (gain D)

without pulses, rounding, noise or limits. Only a device without noise, drift
and history can be shifted so (`ideal.shift`).

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection
from meta_analog.programming import controller
from meta_analog.programming import program_verify
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response
from meta_analog.programming import refresh
from meta_analog.programming import verify_options


def no_refresh(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    crossbar: array.Crossbar, request: protocols.Request
) -> protocols.Refreshed:
  """A `protocols.RefreshFn` that changes nothing."""
  del key, device, noise_free
  return protocols.Refreshed(crossbar, request,
                             jnp.zeros(request.delta_w.shape, bool),
                             jnp.float32(0.0), None)


def threshold_refresh(
    rule: refresh.Threshold, *, num_reads: int, fresh_share: float,
    num_levels: int
) -> protocols.RefreshFn:
  """Returns the refresh of `refresh.by_threshold` by noisy reads.

  Args:
    rule: levels.
    num_reads: averaged for the decision.
    fresh_share: of each, see `controller.measure`.
    num_levels: most pulses that rewrite a pair.

  Returns:
    A `protocols.RefreshFn`.
  """
  def apply(key, device, noise_free, crossbar, request, known_uS):
    crossbar, info = refresh.by_threshold(
        key, device, noise_free, crossbar, known_uS, rule, request.horizon_s,
        num_levels=num_levels)
    return crossbar, request, info['refreshed']

  return _by_reads(apply, num_reads, fresh_share)


def update_ready_refresh(
    rule: refresh.UpdateReady, *, num_reads: int, fresh_share: float,
    num_levels: int
) -> protocols.RefreshFn:
  """Returns the refresh of `refresh.by_update_ready` by noisy reads.

  A refreshed pair is rewritten with up to num_levels pulses by the table of
  mean responses: an update rule may have no more than one. The arguments are
  those of `threshold_refresh`.
  """
  def apply(key, device, noise_free, crossbar, request, known_uS):
    crossbar, remaining, info = refresh.by_update_ready(
        key, device, noise_free, crossbar, known_uS, request.delta_w, rule,
        request.horizon_s)
    touched = jnp.any(info['refreshed'], axis=0)

    def encode_fn(crossbar, delta_w):
      rewritten = pulse_response.nearest_pulses(
          noise_free, crossbar, delta_w, request.horizon_s, num_levels)
      return jnp.where(touched, rewritten, request.encode_fn(crossbar, delta_w))

    return crossbar, request._replace(
        delta_w=remaining, encode_fn=encode_fn), touched

  return _by_reads(apply, num_reads, fresh_share)


def _by_reads(apply, num_reads, fresh_share):
  """Returns the refresh that decides by the mean of noisy reads."""
  def refresh_fn(key, device, noise_free, crossbar, request):
    key_read, key_write = jax.random.split(key)
    known_uS, crossbar = _measure(
        key_read, device, crossbar, num_reads, fresh_share)
    crossbar, request, touched = apply(
        key_write, device, noise_free, crossbar, request, known_uS)
    return protocols.Refreshed(crossbar, request, touched,
                               jnp.float32(num_reads * known_uS.size), known_uS)

  return refresh_fn


def open_loop(
    refresh_fn: protocols.RefreshFn = no_refresh) -> protocols.WriteFn:
  """Returns the open-loop write, after a refresh."""
  def write_fn(key, device, noise_free, crossbar, request):
    key_refresh, key_pulse = jax.random.split(key)
    begun = refresh_fn(key_refresh, device, noise_free, crossbar, request)
    new, _ = _pulse_open_loop(key_pulse, device, noise_free, begun)
    return protocols.Written(
        new, protocols.count(crossbar, new, begun.reads), jnp.float32(0.0))

  return write_fn


def verified(
    options: verify_options.VerifyOptions,
    refresh_fn: protocols.RefreshFn = no_refresh,
    *,
    bidirectional: bool,
) -> protocols.WriteFn:
  """Returns the verified write, differentiated as the open loop.

  Only pairs that were refreshed or that the open loop would pulse are read and
  written. Their target difference is what was read before the refresh, by the
  known drift, plus the change: an error of the refresh is corrected too.

  Args:
    options: of each pair.
    refresh_fn: comes first.
    bidirectional: whether the device takes negative pulses.

  Returns:
    A `protocols.WriteFn`.
  """
  def write_fn(key, device, noise_free, crossbar, request):
    key_refresh, key_pulse, key_read, key_verify = jax.random.split(key, 4)
    begun = refresh_fn(key_refresh, device, noise_free, crossbar, request)
    surrogate, num_pulses = _pulse_open_loop(
        key_pulse, device, noise_free, begun)
    touched = begun.touched | (jax.lax.stop_gradient(num_pulses) != 0)
    known_uS, reads = begun.known_uS, begun.reads
    if known_uS is None:
      known_uS, read = _measure(
          key_read, device, crossbar, options.num_reads, options.fresh_share)
      begun = begun._replace(
          crossbar=begun.crossbar._replace(slow=read.slow))
      reads = reads + options.num_reads * jnp.sum(
          jnp.broadcast_to(touched, known_uS.shape))
    fixed = jax.lax.stop_gradient
    target_uS = _target_uS(
        noise_free, fixed(crossbar), known_uS, request, fixed(request.delta_w))
    new, info = program_verify.program_and_verify(
        key_verify, device, noise_free, fixed(begun.crossbar),
        program_verify.pairs(target_uS, bidirectional=bidirectional), options,
        request.horizon_s, touched)
    return protocols.Written(
        jax.tree.map(_straight_through, new, surrogate),
        protocols.count(crossbar, new, reads + info['num_reads']),
        info['elapsed_s'])

  return write_fn


def _pulse_open_loop(key, device, noise_free, begun):
  """Returns the crossbar after the open loop's pulses, and these [I, O]."""
  crossbar, request = begun.crossbar, begun.request
  num_pulses = request.encode_fn(crossbar, request.delta_w)
  new = array.pulse(key, device, noise_free, crossbar, num_pulses)
  return new, num_pulses


def _target_uS(noise_free, crossbar, known_uS, request, delta_w):
  """Returns the target differences [I, O] at the date of the predictions."""
  drift = controller.known_drift(noise_free, crossbar, request.horizon_s)
  return (controller.difference(known_uS * drift)
          + delta_w / crossbar.gain_per_uS)


def _measure(key, device, crossbar, num_reads, fresh_share):
  """Returns the mean of noisy reads, without a gradient, and the crossbar."""
  mean_uS, read = controller.measure(
      key, device, jax.lax.stop_gradient(crossbar), num_reads, fresh_share)
  return mean_uS, crossbar._replace(slow=read.slow)


def _straight_through(value, surrogate):
  if jnp.issubdtype(value.dtype, jnp.inexact):
    return quantization.straight_through(value, surrogate)
  return value


# (device state, change_uS [P, D, I, O]) -> device state
ShiftFn = Callable[[Any, jax.Array], Any]


def exact(shift_fn: ShiftFn) -> protocols.WriteFn:
  """Returns the exact write; its gradient to the target change is exact too.

  It counts the devices that change, and no pulses, RESETs or reads.

  Args:
    shift_fn: adds to the conductances of the device, such as `ideal.shift`.

  Returns:
    A `protocols.WriteFn`.
  """
  def write_fn(key, device, noise_free, crossbar, request):
    del key, device, noise_free
    change_uS = _changes_uS(crossbar, request.delta_w)
    new = crossbar._replace(
        devices=shift_fn(crossbar.devices, change_uS),
        estimate=shift_fn(crossbar.estimate, jax.lax.stop_gradient(change_uS)))
    zero = jnp.float32(0.0)
    written = jnp.sum((change_uS != 0).astype(jnp.float32))
    return protocols.Written(
        new, protocols.Counts(zero, zero, zero, written), zero)

  return write_fn


def _changes_uS(crossbar: array.Crossbar, delta_w: jax.Array) -> jax.Array:
  """Returns the change of each device, [P, D, I, O]."""
  shape = crossbar.usage.num_pulses.shape
  each_uS = delta_w / (crossbar.gain_per_uS * shape[1])
  sides_uS = jnp.stack(
      [device_selection.positive(each_uS),
       device_selection.positive(-each_uS)])
  return jnp.broadcast_to(sides_uS[:, None], shape)
