"""From a checked config to the things that it names."""

import functools
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import ml_collections

from meta_analog import base
from meta_analog import devices
from meta_analog import learner as learner_lib
from meta_analog import lif
from meta_analog import losses
from meta_analog import maml
from meta_analog import networks
from meta_analog import settings
from meta_analog import tasks


class Setup(NamedTuple):
  """What a config names."""

  task: base.Task
  networks: networks.Networks
  make_learner: Any  # (noise_scale, keep_trace) -> Learner
  network: learner_lib.Network
  parameters: Any  # () -> networks.MetaParameters, inside a transform
  schedule: maml.Schedule
  loss_fn: maml.LossFn
  after_s: tuple[float, ...]  # times of the tests after adaptation


def build(config: ml_collections.ConfigDict) -> Setup:
  """Returns the things that a checked config names.

  Args:
    config: see `settings.check`, which is called first.

  Returns:
    A `Setup`.

  Raises:
    settings.InputError: see `settings.check`.
  """
  settings.check(config)
  task = tasks.make(config.task.name, config.task.to_dict())
  sizes = (task.num_inputs, *config.network.hidden_sizes, task.num_outputs)
  network = _make_network(config, len(sizes) - 1)
  rule = settings.make_rule(config)
  schedule = maml.Schedule(
      support_s=config.adapt.t_read_s, interval_s=config.adapt.event_interval_s,
      query_s=config.training.t_query_s)
  write_delay_s = config.adapt.t_prog_s - config.adapt.t_read_s
  written = network.num_devices if rule.all_layers else network.num_devices[-1:]
  max_pulses = -(-rule.num_levels // min(written))

  def make_learner(noise_scale, keep_trace=False):
    def device(scale):
      values = dict(config.device_params[config.device])
      values['noise_scale'] = scale * values['noise_scale']
      params = devices.FAMILIES[config.device].params(**values)
      return devices.make(config.device, params, max_pulses)

    return learner_lib.make(
        device(noise_scale), device(0.0), network, rule,
        write_delay_s=write_delay_s,
        reference_s=config.training.t_query_s,
        keep_trace=keep_trace)

  hidden = len(sizes) - 3
  per_layer = lambda values: (
      values[:1] + values[1:2] * hidden + values[2:])
  initial = networks.InitialValues(
      weight_std=per_layer(config.init.weight_std),
      weight_max=per_layer(config.init.weight_max),
      rate=config.init.rate, threshold=config.init.threshold,
      penalty=config.init.penalty, harm=config.init.harm)
  parameters = lambda: networks.MetaParameters(sizes, network, initial)
  loss_fn = (losses.squared_error if task.metric == 'mse'
             else losses.softmax_cross_entropy)
  after_s = tuple(sorted({*config.evaluation.after_s,
                          config.evaluation.t_test_s}))
  params = config.device_params[config.device]
  transforms = networks.make(
      make_learner, parameters, schedule, loss_fn,
      num_events=config.adapt.num_events,
      rate_band_Hz=(config.training.rate_min_Hz, config.training.rate_max_Hz),
      rate_penalty=config.training.rate_penalty,
      before_s=config.evaluation.t_test_s, after_s=after_s,
      bounds_uS=(params.g_min_uS, params.g_max_uS))
  return Setup(task, transforms, make_learner, network, parameters, schedule,
               loss_fn, after_s)


def _make_network(config, num_layers):
  """Returns the learner's Network."""
  c = config.network
  surrogate = functools.partial(
      lif.SURROGATES[c.surrogate], slope=c.surrogate_slope)
  twice = config.adapt.layers == 'all' and config.adapt.order == 'second'
  if c.reset == 'soft' and not twice:
    unroll_fn = functools.partial(lif.unroll_fused, surrogate=surrogate)
  else:
    unroll_fn = functools.partial(
        lif.unroll, surrogate=surrogate, reset=c.reset)
  decay = lif.decay_from_tau(c.tau_out_ms, c.dt_ms)
  crossbar = config.crossbar
  params = config.device_params[config.device]
  if crossbar.drift_compensation == 'clock' and 'nu_mean' in params:
    compensation = lambda age_s: (
        (jnp.maximum(age_s, 1e-3) / params.t0_s) ** params.nu_mean)
  else:
    compensation = lambda age_s: 1.0
  return learner_lib.Network(
      unroll_fn=unroll_fn,
      neuron=lif.Neuron(lif.decay_from_tau(c.tau_mem_ms, c.dt_ms), c.threshold),
      readout=lif.readout_weights(
          c.num_time_steps, decay, start=c.readout_start),
      readout_decay=decay, dt_ms=c.dt_ms,
      num_devices=((crossbar.hidden_devices,) * (num_layers - 1)
                   + (crossbar.output_devices,)),
      span_uS=crossbar.span_uS, floor_uS=crossbar.floor_uS,
      fresh_share=crossbar.fresh_read_share, compensation=compensation)
