"""What people write: checked here, and turned into the things it names.

Everything that enters from a config passes `check` first, so that a mistake
ends in one line that names the field, its value and what is allowed.
"""

import functools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections

from meta_analog import base
from meta_analog import devices
from meta_analog import learner as learner_lib
from meta_analog import lif
from meta_analog import losses
from meta_analog import maml
from meta_analog import networks
from meta_analog import quantize
from meta_analog import rules
from meta_analog import tasks

INF = math.inf
COMPENSATIONS = ('none', 'clock')

# field: (lowest, highest, whether the lowest itself is allowed)
RANGES = {
    'seed': (0, 2**32 - 1, True),
    'task.support_size': (1, INF, True),
    'task.query_size': (1, INF, True),
    'task.amplitude_min': (0, INF, True),
    'task.amplitude_max': (0, INF, False),
    'task.phase_max': (0, INF, False),
    'task.x_max': (0, INF, False),
    'network.num_time_steps': (1, INF, True),
    'network.dt_ms': (0, INF, False),
    'network.tau_mem_ms': (0, INF, False),
    'network.tau_out_ms': (0, INF, False),
    'network.threshold': (0, INF, False),
    'network.surrogate_slope': (0, INF, False),
    'network.readout_start': (0, INF, True),
    'crossbar.hidden_devices': (1, INF, True),
    'crossbar.output_devices': (1, INF, True),
    'crossbar.span_uS': (0, INF, False),
    'crossbar.floor_uS': (0, INF, True),
    'crossbar.fresh_read_share': (0, 1, True),
    'adapt.update_bits': (1, 8, True),
    'adapt.num_steps': (1, INF, True),
    'adapt.num_events': (1, INF, True),
    'adapt.event_interval_s': (0, INF, False),
    'adapt.t_read_s': (0, INF, True),
    'adapt.t_prog_s': (0, INF, True),
    'init.rate': (0, INF, False),
    'init.threshold': (0, INF, False),
    'init.penalty': (0, INF, False),
    'init.harm': (0, INF, False),
    'training.num_steps': (1, INF, True),
    'training.tasks_per_step': (1, INF, True),
    'training.tasks_per_chip': (1, INF, True),
    'training.chips_per_chunk': (1, INF, True),
    'training.learning_rate': (0, INF, False),
    'training.warmup_fraction': (0, 1, True),
    'training.clip_norm': (0, INF, False),
    'training.noise_start': (0, 1, True),
    'training.noise_full': (0, 1, True),
    'training.t_query_s': (0, INF, True),
    'training.rate_min_Hz': (0, INF, True),
    'training.rate_max_Hz': (0, INF, False),
    'training.rate_penalty': (0, INF, True),
    'training.checkpoint_every': (1, INF, True),
    'training.log_every': (1, 20, True),
    'evaluation.num_tasks': (1, INF, True),
    'evaluation.num_chips': (1, INF, True),
    'evaluation.t_test_s': (0, INF, True),
    'evaluation.noise_scale': (0, INF, True),
    'evaluation.ordinary_steps': (1, INF, True),
}
# Parameters of a device that may be negative; all others are at least 0.
SIGNED = ('m1', 'm2', 'm3', 'program_p0_uS', 'program_p1', 'program_p2_per_uS')


class InputError(ValueError):
  """What a person wrote cannot be; the message says what to change."""


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


def check(config: ml_collections.ConfigDict) -> None:
  """Raises InputError, in one line, at the first value that cannot be.

  Args:
    config: any config of this project.

  Raises:
    InputError: names the field, its value and what is allowed.
  """
  try:
    _check(config)
  except ValueError as error:
    raise InputError(str(error)) from None


def _check(config):
  """Raises ValueError, see `check`."""
  for field, (low, high, closed) in RANGES.items():
    _check_range(field, _get(config, field), low, high, closed)
  _check_member('device', config.device, devices.FAMILIES)
  for name, params in config.device_params.items():
    for field, value in params.items():
      if field not in SIGNED:
        _check_range(f'device_params.{name}.{field}', value, 0, INF, True)
      elif not math.isfinite(value):
        raise ValueError(f'config.device_params.{name}.{field} = {value}: '
                         'must be finite')
  network, adapt, training = config.network, config.adapt, config.training
  _check_member('network.surrogate', network.surrogate, lif.SURROGATES)
  _check_member('network.reset', network.reset, lif.RESETS)
  _check_member('crossbar.drift_compensation',
                config.crossbar.drift_compensation, COMPENSATIONS)
  _check_member('adapt.order', adapt.order, ('first', 'second'))
  sizes = network.hidden_sizes
  if not sizes or any(not isinstance(n, int) or n < 1 for n in sizes):
    raise ValueError(f'config.network.hidden_sizes = {sizes}: must be whole '
                     'numbers, each at least 1')
  for field in ('weight_std', 'weight_max'):
    values = config.init[field]
    if len(values) != 3 or any(not value > 0 for value in values):
      raise ValueError(f'config.init.{field} = {values}: must be three '
                       'positive numbers (first, later hidden, output layer)')
  _check_order(config, 'task.amplitude_min', 'task.amplitude_max')
  _check_order(config, 'adapt.t_read_s', 'adapt.t_prog_s')
  _check_order(config, 'training.noise_start', 'training.noise_full')
  _check_order(config, 'training.rate_min_Hz', 'training.rate_max_Hz')
  if network.readout_start >= network.num_time_steps:
    raise ValueError(
        f'config.network.readout_start = {network.readout_start}: must be '
        f'below network.num_time_steps ({network.num_time_steps})')
  if training.tasks_per_step % training.tasks_per_chip:
    raise ValueError(
        f'config.training.tasks_per_step = {training.tasks_per_step}: must be '
        f'a multiple of training.tasks_per_chip ({training.tasks_per_chip})')
  if config.evaluation.num_tasks % config.evaluation.num_chips:
    raise ValueError(
        f'config.evaluation.num_tasks = {config.evaluation.num_tasks}: must be '
        'a multiple of evaluation.num_chips '
        f'({config.evaluation.num_chips})')
  _check_times(config)
  _check_device(config)
  _make_rule(config)
  tasks.make(config.task.name, config.task.to_dict())


def build(config: ml_collections.ConfigDict) -> Setup:
  """Returns the things that a checked config names.

  Args:
    config: see `check`, which is called first.

  Returns:
    A `Setup`.

  Raises:
    InputError: see `check`.
  """
  check(config)
  task = tasks.make(config.task.name, config.task.to_dict())
  sizes = (task.num_inputs, *config.network.hidden_sizes, task.num_outputs)
  network, rule = _make_network(config, len(sizes) - 1), _make_rule(config)
  schedule = maml.Schedule(
      support_s=config.adapt.t_read_s, interval_s=config.adapt.event_interval_s,
      query_s=config.training.t_query_s)
  write_delay_s = config.adapt.t_prog_s - config.adapt.t_read_s
  num_devices = max(network.num_devices)
  if not rule.all_layers:
    num_devices = network.num_devices[-1]
  max_pulses = -(-rule.num_levels // num_devices)
  if rule.all_layers:
    max_pulses = -(-rule.num_levels // min(network.num_devices))

  def make_learner(noise_scale, keep_trace=False):
    def device(scale):
      values = dict(config.device_params[config.device])
      values['noise_scale'] = scale * values['noise_scale']
      params = devices.FAMILIES[config.device].params(**values)
      return devices.make(config.device, params, max_pulses)

    return learner_lib.make(
        device(noise_scale), device(0.0), network, rule,
        write_delay_s=write_delay_s,
        reference_delay_s=config.training.t_query_s - last_write_s(config),
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
  transforms = networks.make(
      make_learner, parameters, schedule, loss_fn,
      num_events=config.adapt.num_events,
      rate_band_Hz=(config.training.rate_min_Hz, config.training.rate_max_Hz),
      rate_penalty=config.training.rate_penalty,
      before_s=config.evaluation.t_test_s, after_s=after_s)
  return Setup(task, transforms, make_learner, network, parameters, schedule,
               loss_fn, after_s)


def last_write_s(config: ml_collections.ConfigDict) -> float:
  """Returns the chip time of the last adaptation event's write, s."""
  return (config.adapt.t_prog_s
          + (config.adapt.num_events - 1) * config.adapt.event_interval_s)


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


def _make_rule(config):
  """Returns the rule of adaptation."""
  c = config.adapt
  quantize.max_level(c.update_bits)
  return rules.make(
      rule=c.rule, encoding=c.encoding, update_bits=c.update_bits,
      num_steps=c.num_steps, layers=c.layers, first_order=c.order == 'first')


def _check_times(config):
  """Raises ValueError where a test would come before the last write."""
  last_s = last_write_s(config)
  times = [('training.t_query_s', config.training.t_query_s),
           ('evaluation.t_test_s', config.evaluation.t_test_s)]
  times += [('evaluation.after_s', t) for t in config.evaluation.after_s]
  for field, value in times:
    if not last_s < value < INF:
      raise ValueError(f'config.{field} = {value}: must be later than the last '
                       f'write, at {last_s} s')
  delay_s = config.adapt.t_prog_s - config.adapt.t_read_s
  if config.adapt.event_interval_s <= delay_s and config.adapt.num_events > 1:
    raise ValueError(
        f'config.adapt.event_interval_s = {config.adapt.event_interval_s}: '
        f'must exceed the {delay_s} s from reading to writing')


def _check_device(config):
  """Raises ValueError where the device cannot hold the targets."""
  params = config.device_params[config.device]
  if params.g_min_uS >= params.g_max_uS:
    raise ValueError(
        f'config.device_params.{config.device}.g_min_uS = {params.g_min_uS}: '
        f'must be below g_max_uS ({params.g_max_uS})')
  top = config.crossbar.floor_uS + config.crossbar.span_uS
  if config.crossbar.floor_uS < params.g_min_uS or top > params.g_max_uS:
    raise ValueError(
        f'config.crossbar.floor_uS = {config.crossbar.floor_uS}, span_uS = '
        f'{config.crossbar.span_uS}: targets must stay within '
        f'[{params.g_min_uS}, {params.g_max_uS}] uS of {config.device}')


def _get(config, field):
  for part in field.split('.'):
    config = config[part]
  return config


def _check_range(field, value, low, high, closed):
  if not (low <= value <= high) or (value == low and not closed) or (
      not math.isfinite(value)):
    bound = f'at least {low}' if closed else f'greater than {low}'
    top = '' if high == INF else f' and at most {high}'
    raise ValueError(f'config.{field} = {value}: must be {bound}{top}')


def _check_member(field, value, known):
  if value not in known:
    raise ValueError(f'config.{field} = {value!r}: must be one of '
                     f'{", ".join(sorted(known))}')


def _check_order(config, low, high):
  if _get(config, low) > _get(config, high):
    raise ValueError(f'config.{low} = {_get(config, low)}: must not exceed '
                     f'{high} ({_get(config, high)})')
