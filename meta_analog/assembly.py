"""From a checked config to the things that it names."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections

from meta_analog import assembly_writing
from meta_analog import base
from meta_analog import budgets
from meta_analog import chips
from meta_analog import coding
from meta_analog import compensation as compensation_lib
from meta_analog import convolution
from meta_analog import devices
from meta_analog import fused
from meta_analog import hardware_settings
from meta_analog import learner as learner_lib
from meta_analog import lif
from meta_analog import losses
from meta_analog import maml
from meta_analog import networks
from meta_analog import noise_sources
from meta_analog import periphery as peri
from meta_analog import presentation
from meta_analog import rate
from meta_analog import settings
from meta_analog.devices import stuck


class Setup(NamedTuple):
  """What a config names."""

  task: base.Task
  networks: networks.Networks
  make_learner: Any  # (noise_scale, testing, later_s) -> Learner
  network: presentation.Network
  parameters: Any  # () -> networks.MetaParameters, inside a transform
  schedule: maml.Schedule
  loss_fn: maml.LossFn
  after_s: tuple[float, ...]  # times of the tests after adaptation
  at_noise: Any  # traced noise_scale of the device's parameters -> Setup


def build(
    config: ml_collections.ConfigDict,
    learner_fn: Callable[..., base.Learner] = learner_lib.make
) -> Setup:
  """Returns the things that a config names.

  Args:
    config: see `settings.check`, which is called first.
    learner_fn: `learner.make`, or another with its arguments.

  Returns:
    A `Setup`.

  Raises:
    settings.InputError: see `settings.check`.
  """
  settings.check(config)
  return assemble(config, learner_fn)


def assemble(
    config: ml_collections.ConfigDict,
    learner_fn: Callable[..., base.Learner] = learner_lib.make,
    device_noise: jax.Array | None = None
) -> Setup:
  """Returns the things that a checked config names.

  Args:
    config: checked.
    learner_fn: see `build`.
    device_noise: stands for noise_scale of the device's parameters where it is
      given, and may be traced.

  Returns:
    A `Setup`.
  """
  task = settings.make_task(config)
  windows, shapes = convolution.shapes(
      task.image_shape or (
          1, 1, task.num_inputs * config.network.input_channels),
      config.network.get('convolutions', ()),
      (*config.network.hidden_sizes, task.num_outputs))
  network = _make_network(config, len(shapes))._replace(windows=windows)
  times = _make_times(config)
  rule = settings.make_rule(config)
  schedule = maml.Schedule(
      support_s=config.adapt.t_read_s, interval_s=config.adapt.event_interval_s,
      query_s=config.training.t_query_s)
  written = network.num_devices if rule.all_layers else network.num_devices[-1:]
  most = rule.num_levels
  if config.adapt.refresh != 'none':
    most = max(most, config.adapt.refresh_pulses)
  max_pulses = -(-most // min(written))
  if config.evaluation.programming == 'descent':
    max_pulses = max(
        max_pulses, -(-config.descent.num_levels // min(network.num_devices)))

  write_fn = assembly_writing.make_write(config)

  def make_learner(noise_scale, testing=False, later_s=0.0):
    model = _make_device(config, 0.0, max_pulses)
    made = lambda layer: _with_stuck(config, _make_device(
        config, noise_scale, max_pulses, device_noise, layer))
    periphery = network.periphery
    hardware = chips.Hardware(
        made('output'), model, network._replace(
            periphery=periphery._replace(
                gain_std=noise_scale * periphery.gain_std,
                offset_std=noise_scale * periphery.offset_std)),
        assembly_writing.make_program(config, testing, _clock(config)),
        write_fn,
        made('hidden') if noise_sources.differ(config) else None)
    later = times._replace(reference_s=times.reference_s + later_s)
    return learner_fn(hardware, rule, later, keep_trace=testing)

  hidden = len(shapes) - 2
  per_layer = lambda values: (
      values[:1] + values[1:2] * hidden + values[2:])
  initial = networks.InitialValues(
      weight_std=per_layer(config.init.weight_std),
      weight_max=per_layer(config.init.weight_max),
      rate=config.init.rate, threshold=config.init.threshold,
      penalty=config.init.penalty, harm=config.init.harm)
  parameters = lambda: networks.MetaParameters(shapes, network, initial)
  loss_fn = losses.squared_error
  if task.metric == 'accuracy':
    loss_fn = functools.partial(losses.softmax_cross_entropy,
                                scale=config.training.logit_scale)
  after_s = tuple(sorted({*config.evaluation.after_s,
                          config.evaluation.t_test_s}))
  params = config.device_params[config.device]
  transforms = networks.make(
      make_learner, parameters, schedule, loss_fn,
      num_events=config.adapt.num_events,
      rate_band_Hz=(config.training.rate_min_Hz, config.training.rate_max_Hz),
      rate_penalty=config.training.rate_penalty,
      tasks_at_once=tasks_at_once(config),
      before_s=config.evaluation.t_test_s, after_s=after_s,
      bounds_uS=(params.g_min_uS, params.g_max_uS),
      adapt_anew=config.evaluation.adapt_anew == 'before_each_test')
  return Setup(task, transforms, make_learner, network, parameters, schedule,
               loss_fn, after_s,
               functools.partial(assemble, config, learner_fn))


def tasks_at_once(config: ml_collections.ConfigDict) -> int:
  """Returns how many tasks of a chip a training computes together.

  Args:
    config: checked.

  Returns:
    What the config says, or where it says 0 what suits the machine: on a CPU
    one, see `in_turn`, elsewhere all.
  """
  c = config.training
  on_cpu = jax.default_backend() == 'cpu'
  return c.tasks_at_once or (1 if on_cpu else c.tasks_per_chip)


def traced(
    setup: Setup, device_noise: jax.Array, data: Any
) -> Setup:
  """Returns a setup whose device's noise and task's data are arguments.

  Args:
    setup: of a config.
    device_noise: see `assemble`.
    data: of its task.
  """
  return with_data(setup.at_noise(device_noise), data)


def with_data(setup: Setup, data: Any) -> Setup:
  """Returns a setup whose task draws from these data."""
  return setup._replace(task=setup.task._replace(data=data))


def _make_network(config, num_layers):
  """Returns the learner's Network."""
  c = config.network
  surrogate = functools.partial(
      lif.SURROGATES[c.surrogate], slope=c.surrogate_slope)
  twice = config.adapt.layers == 'all' and config.adapt.order == 'second'
  periphery = peri.Periphery(**config.periphery)
  if c.neuron == 'rate':
    activity_fn = functools.partial(
        rate.activity, slope=c.surrogate_slope,
        convert_fn=functools.partial(peri.drive, periphery))
  elif c.reset == 'soft' and not twice:
    activity_fn = functools.partial(fused.activity, surrogate=surrogate)
  else:
    activity_fn = functools.partial(
        lif.activity, surrogate=surrogate, reset=c.reset)
  decay = lif.decay_from_tau(c.tau_out_ms, c.dt_ms)
  crossbar = config.crossbar
  return presentation.Network(
      activity_fn=activity_fn,
      neuron=lif.Neuron(lif.decay_from_tau(c.tau_mem_ms, c.dt_ms), c.threshold),
      readout=lif.readout_weights(
          c.num_time_steps, decay, start=c.readout_start),
      readout_start=c.readout_start, readout_decay=decay, dt_ms=c.dt_ms,
      num_devices=((crossbar.hidden_devices,) * (num_layers - 1)
                   + (crossbar.output_devices,)),
      span_uS=crossbar.span_uS, floor_uS=crossbar.floor_uS,
      fresh_share=crossbar.fresh_read_share,
      periphery=periphery,
      compensation=compensation_lib.make(
          crossbar.drift_compensation, _clock(config)),
      num_channels=c.input_channels,
      encode_fn=coding.CODES[c.get('code', 'current')],
      spiking=c.neuron == 'lif')


def _make_device(
    config, noise_scale, max_pulses, device_noise=None, layer='output'):
  """Returns the technology, its deviations scaled."""
  values = noise_sources.params_of(config, layer)
  if device_noise is not None:
    values['noise_scale'] = device_noise
  values['noise_scale'] = noise_scale * values['noise_scale']
  params = devices.FAMILIES[config.device].params(**values)
  return devices.make(config.device, params, max_pulses)


def _with_stuck(config, device):
  """Returns the technology, some of its devices stuck where a config says."""
  c, params = config.crossbar, config.device_params[config.device]
  if not c.stuck_fraction:
    return device
  return stuck.make(
      device, fraction=c.stuck_fraction, high_share=c.stuck_high_share,
      low_uS=params.g_min_uS, high_uS=params.g_max_uS)


def _clock(config):
  """Returns age, s, to the factor that undoes the mean drift of a device.

  A device of half the span, programmed without noise at age 0, is known at
  every age: the factor is what it was programmed to over what it is now.
  """
  model = _make_device(config, 0.0, 1)
  target_uS = jnp.float32(
      config.crossbar.floor_uS + 0.5 * config.crossbar.span_uS)

  def factor(age_s):
    state = model.program(jax.random.key(0), target_uS, jnp.float32(0.0))
    return target_uS / model.read_stats(state, age_s)[0]

  return jax.jit(factor)


def _make_times(config):
  """Returns when a chip is calibrated, written and asked."""
  c = config.adapt
  delay_s = c.t_prog_s - c.t_read_s
  duration_s = 0.0
  if c.write == 'verified':
    duration_s = budgets.longest_s(
        budgets.Budget(**config.verification))
  # Calibrated at the latest when the next event or the first test begins.
  room_s = hardware_settings.settle_room_s(config)
  return learner_lib.Times(
      calibrate_s=config.crossbar.calibrate_after_s, write_delay_s=delay_s,
      write_duration_s=duration_s,
      settle_s=min(config.crossbar.calibrate_after_s, room_s - duration_s),
      reference_s=config.training.t_query_s)
