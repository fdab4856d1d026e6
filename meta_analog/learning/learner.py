"""The analog spiking network as a `types.Learner`: init, predict, update.

By default only the output layer is written, so the inner loop needs no more
than its features, time-averaged once per forward pass (see `network`).

Axes: T time step, N sample, F feature (with bias), O out, L layer.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import matvec
from meta_analog.learning import meta_parameters
from meta_analog.learning import update_rules
from meta_analog.networks import chip as chip_lib
from meta_analog.networks import lif
from meta_analog.networks import network as network_lib
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response

# `network.forward` and `compute_updates`, without its first argument.
ForwardFn = Callable[..., network_lib.ForwardPass]
ComputeUpdatesFn = Callable[
    ..., tuple[network_lib.ForwardPass, dict[int, jax.Array]]]


class LearnerState(NamedTuple):
  """A chip and the parameters of the rule that adapts it."""

  chip: chip_lib.Chip
  rule_params: meta_parameters.RuleParams


class Times(NamedTuple):
  """Times of calibrations, writes and predictions, in seconds."""

  calibrate_s: float  # date of the first drift calibration
  write_delay_s: float  # from the forward pass of a support set to the write
  write_duration_s: float  # from the first pulse of a write to the last read
  settle_s: float  # from the end of a write to the next drift calibration
  reference: clock.Time | float  # date of the predictions


def make(
    hardware: chip_lib.Hardware,
    rule: update_rules.Rule,
    times: Times,
    *,
    keep_trace: bool = False,
    forward_fn: ForwardFn = network_lib.forward,
    updates_fn: ComputeUpdatesFn | None = None,
) -> types.Learner:
  """Returns the learner.

  Args:
    hardware: see `chip.Hardware`.
    rule: see `update_rules.Rule`.
    times: see `Times`; mean pulse responses are those at its reference.
    keep_trace: whether predict's info holds 'trace' [T, N, O], the output at
      every time step.
    forward_fn: `network.forward`, or another form of it.
    updates_fn: `compute_updates`, the default, or another form of it.

  Returns:
    A `types.Learner` over `meta_parameters.Theta` and `LearnerState`. A date
    may also be a number of seconds, see `clock.exact`.
  """
  network = hardware.network
  updates_fn = updates_fn or functools.partial(compute_updates, forward_fn)

  def init(key, theta):
    return LearnerState(chip_lib.program_chip(
        key, hardware, theta.layers, times.calibrate_s), theta.rule)

  def predict(key, state, inputs, time):
    key_read, key_run = jax.random.split(key)
    readings, *_ = chip_lib.read_layers(key_read, hardware, state.chip, time)
    result = forward_fn(key_run, network, readings, inputs)
    info = {'rate_Hz': result.rate_Hz}
    if keep_trace:
      info['trace'] = lif.leaky_integrate(
          result.currents, network.readout_decay)
    return result.outputs, info

  def update(key, state, support, time):
    chip, rule_params = state
    key_read, key_run, key_write = jax.random.split(key, 3)
    readings, measured, chip = chip_lib.read_layers(
        key_read, hardware, chip, time)
    if rule.first_order:
      readings = jax.lax.stop_gradient(readings)
    result, changes = updates_fn(
        key_run, network, rule, readings, support, rule_params)
    samples = result.features, support.y - result.outputs
    counts = []
    for i, delta_w in changes.items():
      chip, written = _write_layer(
          jax.random.fold_in(key_write, i), hardware, rule, times,
          LearnerState(chip, rule_params), i, delta_w, samples, measured[i],
          time)
      counts.append(written)
    return LearnerState(chip, rule_params), {
        'rate_Hz': result.rate_Hz, 'outputs': result.outputs,
        'write': jax.tree.map(lambda *each: sum(each), *counts)._asdict(),
        'g_uS': tuple(crossbar.devices.g_uS for crossbar in chip.crossbars)}

  return types.Learner(init, predict, update)


def compute_updates(
    forward_fn: ForwardFn, key: jax.Array, network: network_lib.Network,
    rule: update_rules.Rule, readings: tuple[matvec.LayerReading, ...],
    support: types.Samples, params: meta_parameters.RuleParams
) -> tuple[network_lib.ForwardPass, dict[int, jax.Array]]:
  """Returns the forward pass of a support set, and the weight changes.

  Args:
    forward_fn: see `make`.
    key: consumed by the noise of the forward pass.
    network: see `network.Network`.
    rule: see `update_rules.Rule`.
    readings: one per layer.
    support: samples.
    params: the rule's settings.

  Returns:
    The forward pass, and {layer: weight change [I, O]}.
  """
  result = forward_fn(key, network, readings, support.x)
  if rule.all_layers:
    # The same forward pass once more, and so the same noise.
    return result, all_layers_delta(
        forward_fn, jax.random.clone(key), network, readings, support, params)
  change = rule.delta_fn(result.features, support.y - result.outputs, params)
  return result, {len(readings) - 1: change}


def all_layers_delta(
    forward_fn: ForwardFn, key: jax.Array, network: network_lib.Network,
    readings: tuple[matvec.LayerReading, ...], support: types.Samples,
    params: meta_parameters.RuleParams
) -> dict[int, jax.Array]:
  """Returns the delta rule of every layer: its rate times the gradient.

  Args:
    forward_fn: see `make`.
    key: consumed by the noise of the forward pass.
    network: see `network.Network`.
    readings: one per layer.
    support: samples.
    params: learned rates.

  Returns:
    {layer: weight change [I, O]}.
  """
  def loss(weights):
    replaced = tuple(
        layer._replace(reading=layer.reading._replace(weights=w))
        for layer, w in zip(readings, weights))
    result = forward_fn(key, network, replaced, support.x)
    residual = support.y - result.outputs
    return 0.5 * jnp.mean(jnp.sum(jnp.square(residual), axis=-1))

  gradients = jax.grad(loss)([layer.reading.weights for layer in readings])
  rates = jnp.exp(params.log_rate)
  # With respect to the compensated weights, those of the arrays times factor.
  return {i: -rates[i] * g / jnp.reshape(layer.factor, (1, -1))
          for i, (g, layer) in enumerate(zip(gradients, readings))}


def _write_layer(
    key, hardware, rule, times, state, i, delta_w, samples, measured, time):
  """Returns the chip with layer i written and recalibrated, and counts."""
  chip, rule_params = state
  key_write, key_settle = jax.random.split(key)
  baseline, drift = chip.baselines[i], hardware.network.compensation
  age_s = lambda date: clock.elapsed_s(date, chip.start)
  factor_at = lambda date: (
      drift.factor(baseline, measured, age_s(time))
      * drift.clock(age_s(date)) / drift.clock(age_s(time)))
  # The compensation at the date of the predictions.
  factor = factor_at(times.reference)
  write_time = clock.later(time, times.write_delay_s)
  horizon_s = clock.elapsed_s(times.reference, write_time)

  def encode_fn(crossbar, delta_w):
    response = pulse_response.table(
        chip_lib.devices_of(hardware, i)[1], crossbar, rule.num_levels,
        horizon_s)
    return rule.encode_fn(
        jnp.reshape(factor, (1, -1)) * delta_w,
        jnp.reshape(factor, (1, 1, 1, -1)) * response, rule_params, i, *samples)

  request = protocols.Request(
      delta_w / jnp.reshape(factor, (1, -1)), encode_fn, horizon_s)
  chip, counts = chip_lib.write_layer(
      key_write, hardware, chip, i, request, write_time)
  # A write is no drift: the factor continues by the mean law.
  settled = clock.later(write_time, times.write_duration_s + times.settle_s)
  return chip_lib.calibrate(
      key_settle, hardware, chip, i, settled, factor_at(settled)), counts
