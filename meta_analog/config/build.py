"""Learner, networks and task of a checked config."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.config import build_hardware
from meta_analog.config import build_task
from meta_analog.config import defaults
from meta_analog.config import noise_sources
from meta_analog.config import timeline
from meta_analog.config import validation
from meta_analog.core import types
from meta_analog.crossbar import drift_compensation
from meta_analog.learning import learner
from meta_analog.learning import losses
from meta_analog.learning import maml
from meta_analog.learning import transforms as transforms_lib
from meta_analog.networks import chip
from meta_analog.networks import convolution
from meta_analog.networks import network as network_lib


class Setup(NamedTuple):
  """The objects that a config names.

  Attributes:
    task: the task family.
    transforms: functions of parameters to losses and tests.
    make_learner: (noise_scale, testing, reference) -> `types.Learner`, see
      `_make_learner_fn`.
    network: the network that all learners share.
    parameters: () -> `transforms.MetaParameters`, inside a transform.
    schedule: chip times of training.
    loss_fn: of outputs and targets.
    after_s: chip times of the tests after adaptation, s.
    at_noise: noise_scale of the device's parameters, which may be traced, ->
      `Setup`.
  """

  task: types.Task
  transforms: transforms_lib.Transforms
  make_learner: Callable[..., types.Learner]
  network: network_lib.Network
  parameters: Callable[[], transforms_lib.MetaParameters]
  schedule: maml.Schedule
  loss_fn: maml.LossFn
  after_s: tuple[float, ...]
  at_noise: Callable[[jax.Array], Any]


def build(
    config: ml_collections.ConfigDict,
    learner_fn: Callable[..., types.Learner] = learner.make
) -> Setup:
  """Returns the things that a config names.

  Args:
    config: see `validation.check`, which is called first.
    learner_fn: `learner.make`, or another with its arguments.

  Returns:
    A `Setup`.

  Raises:
    InputError: see `validation.check`.
  """
  validation.check(config)
  return assemble(config, learner_fn)


def assemble(
    config: ml_collections.ConfigDict,
    learner_fn: Callable[..., types.Learner] = learner.make,
    device_noise: jax.Array | None = None
) -> Setup:
  """Returns the things that a checked config names.

  Args:
    config: checked.
    learner_fn: see `build`.
    device_noise: replaces noise_scale of the device's parameters where it is
      given, and may be traced.

  Returns:
    A `Setup`.
  """
  task = build_task.make_task(config)
  conv_shapes, shapes = convolution.layer_shapes(
      task.image_shape or (
          1, 1, task.num_inputs * config.network.input_channels),
      config.network.get('convolutions', ()),
      (*config.network.hidden_sizes, task.num_outputs))
  network = build_hardware.make_network(config, len(shapes))._replace(
      conv_shapes=conv_shapes)
  make_learner = _make_learner_fn(config, network, learner_fn, device_noise)
  initial = _initial_values(config, len(shapes))
  parameters = lambda: transforms_lib.MetaParameters(shapes, network, initial)
  schedule = maml.Schedule(
      support_s=config.adapt.t_read_s, interval_s=config.adapt.event_interval_s,
      query_s=config.training.t_query_s)
  loss_fn = losses.squared_error
  if task.metric == 'accuracy':
    loss_fn = functools.partial(losses.softmax_cross_entropy,
                                scale=config.training.logit_scale)
  after_s = tuple(sorted({*config.evaluation.after_s,
                          config.evaluation.t_test_s}))
  transforms = _make_transforms(
      config, make_learner, parameters, schedule, loss_fn, after_s)
  return Setup(task, transforms, make_learner, network, parameters, schedule,
               loss_fn, after_s,
               functools.partial(assemble, config, learner_fn))


def _make_learner_fn(config, network, learner_fn, device_noise):
  """Returns (noise_scale, testing, reference) -> Learner.

  noise_scale scales all noise of the chips; testing keeps traces and programs
  as test chips are programmed; reference, where it is not None, is the chip
  time that writes aim at.
  """
  times = timeline.make_times(config)
  rule = build_hardware.make_rule(config)
  max_pulses = _max_pulses(config, rule, network.num_devices)
  write_fn = build_hardware.make_write(config)

  def make_learner(noise_scale, testing=False, reference=None):
    make_device = functools.partial(
        build_hardware.make_device, config, noise_scale, max_pulses,
        device_noise)
    device_of = lambda layer: build_hardware.with_stuck(
        config, make_device(layer))
    model_of = functools.partial(make_device, noise_free=True)
    differ = noise_sources.differ(config)
    drift_clock = build_hardware.drift_clock(
        config, noise_scale, device_noise)
    periphery = network.periphery
    noisy = periphery._replace(
        gain_std=noise_scale * periphery.gain_std,
        offset_std=noise_scale * periphery.offset_std)
    hardware = chip.Hardware(
        device_of('output'), model_of('output'),
        network._replace(periphery=noisy, compensation=drift_compensation.make(
            config.crossbar.drift_compensation, drift_clock)),
        build_hardware.make_program(config, testing, drift_clock),
        write_fn,
        device_of('hidden') if differ else None,
        model_of('hidden') if differ else None,
        noise_sources.has_slow_noise(defaults.flat(config)))
    own = times if reference is None else times._replace(reference=reference)
    return learner_fn(hardware, rule, own, keep_trace=testing)

  return make_learner


def _max_pulses(config, rule, num_devices):
  """Returns the most pulses that one device gets in one call.

  Args:
    config: checked.
    rule: of adaptation.
    num_devices: per polarity, of each layer.
  """
  written = num_devices if rule.all_layers else num_devices[-1:]
  num_levels = rule.num_levels
  if config.adapt.refresh != 'none':
    num_levels = max(num_levels, config.adapt.refresh_pulses)
  most = -(-num_levels // min(written))
  if config.evaluation.programming == 'descent':
    most = max(most, -(-config.descent.num_levels // min(num_devices)))
  return most


def _initial_values(config, num_layers):
  """Returns the initial meta-parameters, those of weights for each layer."""
  c = config.init
  per_layer = lambda values: (
      values[:1] + values[1:2] * (num_layers - 2) + values[2:])
  return transforms_lib.InitialValues(
      weight_std=per_layer(c.weight_std), weight_max=per_layer(c.weight_max),
      rate=c.rate, threshold=c.threshold, penalty=c.penalty,
      write_noise_penalty=c.harm)


def _make_transforms(
    config, make_learner, parameters, schedule, loss_fn, after_s):
  """Returns the transformed losses and tests."""
  training, evaluation = config.training, config.evaluation
  params = config.device_params[config.device]
  return transforms_lib.make(
      make_learner, parameters, schedule, loss_fn,
      num_events=config.adapt.num_events,
      rate_band_Hz=(training.rate_min_Hz, training.rate_max_Hz),
      rate_penalty=training.rate_penalty,
      task_batch_size=tasks_at_once(config),
      before_s=evaluation.t_test_s, after_s=after_s,
      bounds_uS=(params.g_min_uS, params.g_max_uS),
      readapt=evaluation.adapt_anew == 'before_each_test')


def describe(config: ml_collections.ConfigDict) -> str:
  """Returns one line about a config: its name, task, layers and device."""
  network = config.network
  sizes = '-'.join(
      [f'{channels} x {kernel}x{kernel}'
       for channels, kernel, _ in network.get('convolutions', ())]
      + [str(n) for n in network.hidden_sizes])
  variant = f':{config.variant}' if config.variant else ''
  return (f'{config.name}{variant}: {config.task.name}, hidden layers {sizes}, '
          f'device {config.device}')


def tasks_at_once(config: ml_collections.ConfigDict) -> int:
  """Returns how many tasks of a chip are one batch in training.

  Args:
    config: checked.

  Returns:
    training.tasks_at_once, or where it is 0 what suits the machine: on a CPU
    one, see `batching`, elsewhere all.
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


class Varied(NamedTuple):
  """Traced values of a config, so that another value compiles nothing.

  A constant would be folded into others, which rounds otherwise.
  """

  device_noise: jax.Array | np.float32  # noise_scale of its parameters
  learning_rate: jax.Array | np.float32  # the highest of the training


def vary(config: ml_collections.ConfigDict) -> Varied:
  """Returns what a config sets of `Varied`."""
  return Varied(
      np.float32(config.device_params[config.device].noise_scale),
      np.float32(config.training.learning_rate))
