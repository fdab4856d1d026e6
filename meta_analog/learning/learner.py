"""The analog spiking network as a Learner: init, predict, update. Pure JAX.

Only the output layer is written by default, so its features, time-averaged once
per presentation, are all that the inner loop needs (see `network`).

Axes: T time step, N sample, F feature (with bias), O out, L layer.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
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
  """What adapts: a chip, and the parameters of the rule that adapts it."""

  chip: chip_lib.Chip
  rule_params: meta_parameters.RuleParams


class Times(NamedTuple):
  """When a chip is calibrated, written and asked, in seconds."""

  calibrate_s: float  # chip time of the first drift calibration
  write_delay_s: float  # from the presentation of a support set to the write
  write_duration_s: float  # from the first pulse of a write to the last read
  settle_s: float  # from the end of a write to the next drift calibration
  reference: clock.Time | float  # that predictions are wanted for, s


def make(
    hardware: chip_lib.Hardware,
    rule: update_rules.Rule,
    times: Times,
    *,
    keep_trace: bool = False,
    present_fn: ForwardFn = network_lib.forward,
    ask_fn: ComputeUpdatesFn | None = None,
) -> types.Learner:
  """Returns the learner.

  Args:
    hardware: see `chip.Hardware`.
    rule: see `update_rules.Rule`.
    times: see `Times`; the controller's table of pulses is made for its
      reference.
    keep_trace: whether predict's info holds 'trace' [T, N, O], the output at
      every time step.
    present_fn: `network.forward`, or another form of it.
    ask_fn: `compute_updates` by default, or another form of it.

  Returns:
    A `types.Learner` over `meta_parameters.Theta` and `LearnerState`. A date
    may also be a number of seconds, see `clock.exact`.
  """
  network = hardware.network
  ask_fn = ask_fn or functools.partial(compute_updates, present_fn)

  def init(key, theta):
    chip = chip_lib.program_chip(
        key, hardware, theta.layers, times.calibrate_s)
    return LearnerState(chip, theta.rule)

  def predict(key, state, inputs, time):
    key_view, key_run = jax.random.split(key)
    views, _ = chip_lib.read_layers(key_view, hardware, state.chip, time)
    seen = present_fn(key_run, network, views, inputs)
    info = {'rate_Hz': seen.rate_Hz}
    if keep_trace:
      info['trace'] = lif.leaky_integrate(seen.currents, network.readout_decay)
    return seen.outputs, info

  def update(key, state, support, time):
    chip, rule_params = state
    key_view, key_run, key_write = jax.random.split(key, 3)
    views, measured = chip_lib.read_layers(key_view, hardware, chip, time)
    if rule.first_order:
      views = jax.lax.stop_gradient(views)
    seen, wanted = ask_fn(key_run, network, rule, views, support, rule_params)
    samples = seen.features, support.y - seen.outputs
    infos = []
    for i, delta_w in wanted.items():
      chip, info = _write_layer(
          jax.random.fold_in(key_write, i), hardware, rule, times,
          LearnerState(chip, rule_params), i, delta_w, samples, measured[i],
          time)
      infos.append(info)
    write = jax.tree.map(lambda *counts: sum(counts), *infos)
    g_uS = tuple(crossbar.devices.g_uS for crossbar in chip.crossbars)
    return LearnerState(chip, rule_params), {
        'rate_Hz': seen.rate_Hz, 'outputs': seen.outputs, 'g_uS': g_uS,
        'write': write}

  return types.Learner(init, predict, update)


def compute_updates(
    present_fn: ForwardFn, key: jax.Array, network: network_lib.Network,
    rule: update_rules.Rule, views: tuple[matvec.LayerReading, ...],
    support: types.Samples, params: meta_parameters.RuleParams
) -> tuple[network_lib.ForwardPass, dict[int, jax.Array]]:
  """Returns a presentation of the support set, and the changes it asks for.

  Args:
    present_fn: see `make`.
    key: consumed by the noise of the presentation.
    network: see `network.Network`.
    rule: see `update_rules.Rule`.
    views: one per layer.
    support: samples.
    params: the rule's settings.

  Returns:
    What was seen, and {layer: weight change [I, O]}.
  """
  seen = present_fn(key, network, views, support.x)
  if rule.all_layers:
    # The same presentation once more, and so the same noise.
    return seen, all_layers_delta(present_fn, jax.random.clone(key), network,
                                  views, support, params)
  change = rule.delta_fn(seen.features, support.y - seen.outputs, params)
  return seen, {len(views) - 1: change}


def all_layers_delta(
    present_fn: ForwardFn, key: jax.Array, network: network_lib.Network,
    views: tuple[matvec.LayerReading, ...], support: types.Samples,
    params: meta_parameters.RuleParams
) -> dict[int, jax.Array]:
  """Returns the delta rule of every layer: its rate times the gradient.

  Args:
    present_fn: see `make`.
    key: consumed by the noise of the presentation.
    network: see `network.Network`.
    views: one per layer.
    support: samples.
    params: learned rates.

  Returns:
    {layer: weight change [I, O]}.
  """
  def loss(weights):
    replaced = tuple(
        v._replace(reading=v.reading._replace(weights=w))
        for v, w in zip(views, weights))
    seen = present_fn(key, network, replaced, support.x)
    residual = support.y - seen.outputs
    return 0.5 * jnp.mean(jnp.sum(jnp.square(residual), axis=-1))

  gradients = jax.grad(loss)([v.reading.weights for v in views])
  rates = jnp.exp(params.log_rate)
  # By the weights that count, which are the arrays' times the factor.
  return {i: -rates[i] * g / jnp.reshape(view.factor, (1, -1))
          for i, (g, view) in enumerate(zip(gradients, views))}


def _write_layer(
    key, hardware, rule, times, state, i, delta_w, samples, measured, time):
  """Returns the chip with layer i written and calibrated anew, and counts."""
  chip, rule_params = state
  key_write, key_settle = jax.random.split(key)
  device, write_time = chip_lib.device_of(hardware, i), clock.later(
      time, times.write_delay_s)
  crossbar = array.advance(device, hardware.model, chip.crossbars[i],
                           clock.elapsed_s(write_time, chip.times[i]))
  horizon_s = clock.elapsed_s(times.reference, write_time)
  baseline, drift = chip.baselines[i], hardware.network.compensation
  age_s = lambda then: clock.elapsed_s(then, chip.start)
  factor_at = lambda then: (
      drift.factor(baseline, measured, age_s(time))
      * drift.clock(age_s(then)) / drift.clock(age_s(time)))
  # What the outputs are multiplied by when predictions are wanted.
  factor = factor_at(times.reference)

  def encode_fn(crossbar, delta_w):
    stairs = pulse_response.table(
        hardware.model, crossbar, rule.num_levels, horizon_s)
    return rule.encode_fn(
        jnp.reshape(factor, (1, -1)) * delta_w,
        jnp.reshape(factor, (1, 1, 1, -1)) * stairs, rule_params, i, *samples)

  request = protocols.Request(
      delta_w / jnp.reshape(factor, (1, -1)), encode_fn, horizon_s)
  written = hardware.write_fn(
      key_write, device, hardware.model, crossbar, request)
  replace = lambda items, item: items[:i] + (item,) + items[i + 1:]
  chip = chip._replace(
      crossbars=replace(chip.crossbars, written.crossbar),
      times=replace(chip.times, clock.later(write_time, written.elapsed_s)))
  # The write is no drift: the factor goes on from where it was, by the clock.
  settled = clock.later(write_time, times.write_duration_s + times.settle_s)
  baseline = chip_lib.calibrate(
      key_settle, hardware, chip, i, settled, factor_at(settled))
  return (chip._replace(baselines=replace(chip.baselines, baseline)),
          written.counts._asdict())
