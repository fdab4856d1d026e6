"""From a checked config to the things that it names."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.config import build_hardware
from meta_analog.config import build_task
from meta_analog.config import noise_sources
from meta_analog.config import timeline
from meta_analog.config import validation
from meta_analog.core import types
from meta_analog.learning import learner
from meta_analog.learning import losses
from meta_analog.learning import maml
from meta_analog.learning import transforms as transforms_lib
from meta_analog.networks import chip
from meta_analog.networks import convolution
from meta_analog.networks import network as network_lib


class Setup(NamedTuple):
  """What a config names."""

  task: types.Task
  transforms: transforms_lib.Transforms
  make_learner: Any  # (noise_scale, testing, reference) -> Learner
  network: network_lib.Network
  parameters: Any  # () -> networks.MetaParameters, inside a transform
  schedule: maml.Schedule
  loss_fn: maml.LossFn
  after_s: tuple[float, ...]  # times of the tests after adaptation
  at_noise: Any  # traced noise_scale of the device's parameters -> Setup


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
    settings.InputError: see `validation.check`.
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
    device_noise: stands for noise_scale of the device's parameters where it is
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
  times = timeline.make_times(config)
  rule = build_hardware.make_rule(config)
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

  write_fn = build_hardware.make_write(config)

  def make_learner(noise_scale, testing=False, reference=None):
    model = build_hardware.make_device(config, 0.0, max_pulses)
    made = lambda layer: build_hardware.with_stuck(
        config,
        build_hardware.make_device(config, noise_scale, max_pulses,
                                   device_noise, layer))
    periphery = network.periphery
    hardware = chip.Hardware(
        made('output'), model,
        network._replace(periphery=periphery._replace(gain_std=noise_scale *
                                                      periphery.gain_std,
                                                      offset_std=noise_scale *
                                                      periphery.offset_std)),
        build_hardware.make_program(config, testing,
                                    build_hardware.drift_clock(config)),
        write_fn,
        made('hidden') if noise_sources.differ(config) else None)
    wanted = times if reference is None else times._replace(
        reference=reference)
    return learner_fn(hardware, rule, wanted, keep_trace=testing)

  hidden = len(shapes) - 2
  per_layer = lambda values: (
      values[:1] + values[1:2] * hidden + values[2:])
  initial = transforms_lib.InitialValues(
      weight_std=per_layer(config.init.weight_std),
      weight_max=per_layer(config.init.weight_max),
      rate=config.init.rate, threshold=config.init.threshold,
      penalty=config.init.penalty,
      write_noise_penalty=config.init.harm)
  parameters = lambda: transforms_lib.MetaParameters(shapes, network, initial)
  loss_fn = losses.squared_error
  if task.metric == 'accuracy':
    loss_fn = functools.partial(losses.softmax_cross_entropy,
                                scale=config.training.logit_scale)
  after_s = tuple(sorted({*config.evaluation.after_s,
                          config.evaluation.t_test_s}))
  params = config.device_params[config.device]
  transforms = transforms_lib.make(
      make_learner, parameters, schedule, loss_fn,
      num_events=config.adapt.num_events,
      rate_band_Hz=(config.training.rate_min_Hz, config.training.rate_max_Hz),
      rate_penalty=config.training.rate_penalty,
      task_batch_size=tasks_at_once(config),
      before_s=config.evaluation.t_test_s, after_s=after_s,
      bounds_uS=(params.g_min_uS, params.g_max_uS),
      readapt=config.evaluation.adapt_anew == 'before_each_test')
  return Setup(task, transforms, make_learner, network, parameters, schedule,
               loss_fn, after_s,
               functools.partial(assemble, config, learner_fn))


def tasks_at_once(config: ml_collections.ConfigDict) -> int:
  """Returns how many tasks of a chip a training computes together.

  Args:
    config: checked.

  Returns:
    What the config says, or where it says 0 what suits the machine: on a CPU
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
  """What is traced of a config, so that another value compiles nothing.

  A constant would be folded into others, which rounds otherwise.
  """

  device_noise: jax.Array | np.float32  # noise_scale of its parameters
  learning_rate: jax.Array | np.float32  # the highest of the training


def vary(config: ml_collections.ConfigDict) -> Varied:
  """Returns what a config sets of `Varied`."""
  return Varied(
      np.float32(config.device_params[config.device].noise_scale),
      np.float32(config.training.learning_rate))
