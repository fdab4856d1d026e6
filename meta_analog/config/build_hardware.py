"""Devices, network, update rule and writers of a checked config."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from meta_analog.config import defaults
from meta_analog.config import noise_sources
from meta_analog.config import targets
from meta_analog.core import types
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.devices import ideal
from meta_analog.devices import registry as device_registry
from meta_analog.devices import stuck
from meta_analog.learning import update_rules
from meta_analog.networks import encoding
from meta_analog.networks import lif
from meta_analog.networks import lif_fused
from meta_analog.networks import network
from meta_analog.networks import rate_neurons
from meta_analog.programming import controller
from meta_analog.programming import gradient_programming
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import refresh
from meta_analog.programming import verify_options
from meta_analog.programming import writing


def rule_options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the arguments of `update_rules.make` and `check`."""
  c = config.adapt
  return {'rule': c.rule, 'encoding': c.encoding, 'update_bits': c.update_bits,
          'num_steps': c.num_steps, 'layers': c.layers,
          'first_order': c.order == 'first'}


def make_rule(config: ml_collections.ConfigDict) -> update_rules.Rule:
  """Returns the update rule that a checked config names."""
  return update_rules.make(**rule_options(config))


def read_sigma_uS(config: ml_collections.ConfigDict, layer: str) -> float:
  """Returns the read noise that a verification of a layer meets.

  Args:
    config: whose hardware was checked.
    layer: of `noise_sources.LAYERS`.

  Returns:
    Standard deviation of one read of a pair, uS, at the largest difference, on
    the noisiest chips.
  """
  crossbar, options = config.crossbar, config.verification
  lowest_uS = targets.floor_uS(config)
  # A test may be noisier than training, not the other way round.
  scale = max(1.0, config.evaluation.noise_scale)
  return controller.read_sigma_uS(
      make_device(config, scale, 1, layer=layer),
      make_device(config, 0.0, 1, layer=layer),
      lowest_uS + crossbar.span_uS, lowest_uS,
      crossbar[f'{layer}_devices'],
      max(options.delay_s + options.read_span_s, 1e-3))


def make_network(
    config: ml_collections.ConfigDict, num_layers: int
) -> network.Network:
  """Returns the network of a learner, see `network.Network`."""
  c = config.network
  surrogate = functools.partial(
      lif.SURROGATES[c.surrogate], slope=c.surrogate_slope)
  twice = config.adapt.layers == 'all' and config.adapt.order == 'second'
  periphery = periphery_lib.Periphery(**config.periphery)
  if c.neuron == 'rate':
    activity_fn = functools.partial(
        rate_neurons.activity, slope=c.surrogate_slope,
        convert_fn=functools.partial(periphery_lib.drive, periphery))
  elif c.reset == 'soft' and not twice:
    activity_fn = functools.partial(lif_fused.activity, surrogate=surrogate)
  else:
    activity_fn = functools.partial(
        lif.activity, surrogate=surrogate, reset=c.reset)
  decay = lif.decay_from_tau(c.tau_out_ms, c.dt_ms)
  crossbar = config.crossbar
  return network.Network(
      activity_fn=activity_fn,
      neuron=lif.Neuron(lif.decay_from_tau(c.tau_mem_ms, c.dt_ms), c.threshold),
      readout=lif.readout_weights(
          c.num_time_steps, decay, start=c.readout_start),
      readout_start=c.readout_start, readout_decay=decay, dt_ms=c.dt_ms,
      num_devices=((crossbar.hidden_devices,) * (num_layers - 1)
                   + (crossbar.output_devices,)),
      span_uS=crossbar.span_uS, floor_uS=targets.floor_uS(config),
      fresh_share=crossbar.fresh_read_share,
      periphery=periphery,
      compensation=drift_compensation.make(
          crossbar.drift_compensation, drift_clock(config, 1.0)),
      num_channels=c.input_channels,
      encode_fn=encoding.ENCODINGS[c.get('code', 'current')],
      spiking=c.neuron == 'lif')


def make_device(
    config: ml_collections.ConfigDict,
    noise_scale: jax.Array | float,
    max_pulses: int,
    device_noise: jax.Array | None = None,
    layer: str = 'output',
    noise_free: bool = False
) -> types.Device:
  """Returns the device of a layer, or its noise-free model; noise scaled."""
  values = noise_sources.params_of(config, layer)
  if device_noise is not None:
    values['noise_scale'] = device_noise
  values['noise_scale'] = noise_scale * values['noise_scale']
  params = device_registry.FAMILIES[config.device].params(**values)
  make_fn = device_registry.make_noise_free if noise_free else (
      device_registry.make)
  return make_fn(config.device, params, max_pulses)


def with_stuck(
    config: ml_collections.ConfigDict, device: types.Device
) -> types.Device:
  """Returns the device, a fraction of it stuck where a config has one."""
  c, params = config.crossbar, config.device_params[config.device]
  if not c.stuck_fraction:
    return device
  return stuck.make(
      device, fraction=c.stuck_fraction, high_share=c.stuck_high_share,
      low_uS=params.g_min_uS, high_uS=params.g_max_uS)


def drift_clock(
    config: ml_collections.ConfigDict,
    noise_scale: jax.Array | float,
    device_noise: jax.Array | None = None
) -> Callable[[jax.Array], jax.Array]:
  """Returns age, s, to the factor that undoes the mean drift of a device.

  The mean is that over devices, whose exponents spread: see `mean_drift`. Of
  devices that were programmed to half the span the noise-free model knows the
  mean conductance at every age. The factor is the one at the reference age of
  the drift law over the one now, so that it undoes drift alone and no bias of
  programming.

  Args:
    config: checked.
    noise_scale: of the chips.
    device_noise: see `make_device`.
  """
  model = make_device(config, noise_scale, 1, device_noise, noise_free=True)
  target_uS = jnp.float32(
      targets.floor_uS(config) + 0.5 * config.crossbar.span_uS)

  # Once: each call of the factor is compiled by itself.
  state = jax.jit(lambda: model.program(jax.random.key(0), target_uS))()
  return jax.jit(lambda age_s: state.g_uS / model.read_stats(state, age_s)[0])


def make_write(config: ml_collections.ConfigDict) -> protocols.WriteFn:
  """Returns the way to write a weight change.

  Args:
    config: checked.
  """
  c, budget = config.adapt, verify_options.VerifyOptions(**config.verification)
  if c.write == 'exact':
    return writing.exact(ideal.shift)
  refreshes = {
      'none': lambda: writing.no_refresh,
      'threshold': lambda: writing.threshold_refresh(
          refresh.Threshold(c.refresh_level_uS, c.refresh_difference_uS),
          num_reads=budget.num_reads, fresh_share=budget.fresh_share,
          num_levels=c.refresh_pulses),
      'update_ready': lambda: writing.update_ready_refresh(
          refresh.UpdateReady(c.refresh_ceiling_uS),
          num_reads=budget.num_reads, fresh_share=budget.fresh_share,
          num_levels=c.refresh_pulses)}
  refresh_fn = refreshes[c.refresh]()
  if c.write == 'open_loop':
    return writing.open_loop(refresh_fn)
  return writing.verified(
      budget, refresh_fn,
      bidirectional=device_registry.FAMILIES[config.device].bidirectional)


def make_program(
    config: ml_collections.ConfigDict, testing: bool,
    clock: Callable[[jax.Array], jax.Array]
) -> protocols.ProgramFn:
  """Returns the way to program a chip; training takes the statistics.

  Pulses and reads make the differences that a target has drifted to, by the
  mean law, when the chip is first calibrated.

  Args:
    config: checked.
    testing: whether test chips are made.
    clock: age, s, to the factor that undoes the mean drift of a device.
  """
  if not testing or config.evaluation.programming == 'statistical':
    return initial_programming.statistical
  reference_s = config.crossbar.calibrate_after_s
  slow = noise_sources.has_slow_noise(defaults.flat(config))
  if config.evaluation.programming == 'verified':
    program_fn = initial_programming.verified_program(
        verify_options.VerifyOptions(**config.verification), reference_s,
        bidirectional=device_registry.FAMILIES[config.device].bidirectional,
        slow=slow)
  else:
    c = config.descent
    program_fn = gradient_programming.make_program_fn(
        gradient_programming.Descent(c.decay, c.threshold, c.interval_s),
        periphery_lib.Periphery(**config.periphery), config.crossbar.span_uS,
        config.crossbar.fresh_read_share, reference_s,
        num_iterations=c.num_iterations, num_inputs=c.num_inputs,
        num_levels=c.num_levels, slow=slow)
  share = 1.0 / clock(jnp.float32(reference_s))
  return lambda key, device, model, targets_uS, gain_per_uS: program_fn(
      key, device, model, share * targets_uS, gain_per_uS)
