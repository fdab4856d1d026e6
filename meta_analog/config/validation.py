"""Validation of a config before anything is built from it.

Every value that enters from a config passes `check` first, so that a mistake
ends in one line that names the field, its value and what is allowed. Checks
compare values and construct nothing, but for the device whose read noise a
verification has to beat.
"""

from collections.abc import Collection
from collections.abc import Mapping
import math
import types

import ml_collections

from meta_analog.config import build_hardware
from meta_analog.config import build_task
from meta_analog.config import checks
from meta_analog.config import defaults
from meta_analog.config import hardware_validation
from meta_analog.config import memory
from meta_analog.config import ranges
from meta_analog.config import timeline
from meta_analog.core import clock
from meta_analog.core import errors
from meta_analog.crossbar import periphery
from meta_analog.learning import update_rules
from meta_analog.networks import convolution
from meta_analog.networks import lif
from meta_analog.tasks import registry as task_registry

INF = math.inf
MOST_TILES = 64  # of a layer's rows; each is compiled, for a second or more

# field: its words
CHOICES: Mapping[str, Collection[str]] = types.MappingProxyType({
    'network.surrogate': lif.SURROGATES,
    'network.neuron': ('lif', 'rate'),
    'network.reset': lif.RESETS,
    'adapt.order': ('first', 'second'),
    'evaluation.adapt_anew': ('never', 'before_each_test'),
})


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
    raise errors.InputError(str(error)) from None
  except (AttributeError, KeyError) as error:
    # The first line, without quotes: a second one names a field that is near.
    name, *_ = str(error.args[0] if error.args else error).splitlines() or ['']
    name = name.strip('"\'')
    raise errors.InputError(f'the config lacks {name}: one of a run has it, '
                            'one of a study has not') from None
  except TypeError as error:
    raise errors.InputError(f'a field has the wrong type: {error}') from None


def _check(config):
  """Raises ValueError, see `check`."""
  checks.is_member('task.name', config.task.name, task_registry.FAMILIES)
  family = task_registry.FAMILIES[config.task.name]
  for field, limits in ranges.of_task(config.task.name).items():
    checks.in_range(field, checks.value(config, field), *limits)
  for field, words in CHOICES.items():
    checks.is_member(field, checks.value(config, field), words)
  _check_image_fields(config, family)
  _check_network(config)
  _check_batches(config)
  _check_times(config)
  _check_hardware(config)
  update_rules.check(**build_hardware.rule_options(config))
  _check_task(config, family)
  _check_tiles(config)


def _check_network(config):
  """Raises ValueError where layers or initial values cannot be."""
  network = config.network
  if not (network.hidden_sizes or network.get('convolutions', ())):
    raise ValueError(f'config.network.hidden_sizes = {network.hidden_sizes}: '
                     'a network needs a hidden layer, such as (40,)')
  checks.whole_numbers('network.hidden_sizes', network.hidden_sizes,
                       ranges.MANY)
  for field in ('weight_std', 'weight_max'):
    values = config.init[field]
    checks.several(f'init.{field}', values, 0, INF, False)
    if len(values) != 3:
      raise ValueError(f'config.init.{field} = {values}: must be three '
                       'positive numbers (first, later hidden, output layer)')
  if network.readout_start >= network.num_time_steps:
    raise ValueError(
        f'config.network.readout_start = {network.readout_start}: must be '
        f'below network.num_time_steps ({network.num_time_steps})')


def _check_batches(config):
  """Raises ValueError where tasks and chips do not divide evenly."""
  training, evaluation = config.training, config.evaluation
  _check_order(config, 'training.noise_start', 'training.noise_full')
  _check_order(config, 'training.rate_min_Hz', 'training.rate_max_Hz')
  if training.tasks_per_step % training.tasks_per_chip:
    raise ValueError(
        f'config.training.tasks_per_step = {training.tasks_per_step}: must be '
        f'a multiple of training.tasks_per_chip ({training.tasks_per_chip})')
  num_batched = training.tasks_at_once
  if num_batched and training.tasks_per_chip % num_batched:
    raise ValueError(
        f'config.training.tasks_at_once = {num_batched}: must divide '
        f'training.tasks_per_chip ({training.tasks_per_chip}), or be 0 for '
        'what suits the machine')
  if evaluation.num_tasks % evaluation.num_chips:
    raise ValueError(
        f'config.evaluation.num_tasks = {evaluation.num_tasks}: must be a '
        f'multiple of evaluation.num_chips ({evaluation.num_chips})')


def _check_image_fields(config, family):
  """Raises ValueError where fields of images alone cannot be."""
  layers = config.network.get('convolutions', ())
  checks.is_member('network.code', config.network.get('code', 'current'),
                   family.codes)
  for layer in layers:
    checks.whole_numbers('network.convolutions', layer, ranges.MANY)
    if len(layer) != 3:
      raise ValueError(f'config.network.convolutions = {layers}: each must be '
                       '(channels, kernel, stride)')
  if config.task.name == 'sinusoid':
    if layers:
      raise ValueError(f'config.network.convolutions = {layers}: must be () '
                       'for a task without images')
    return
  if config.network.input_channels != 1:
    raise ValueError('config.network.input_channels = '
                     f'{config.network.input_channels}: must be 1 for a task '
                     'of images')
  begin_with = config.training.begin_with
  if begin_with and not build_task.located(begin_with).is_file():
    raise ValueError(f'config.training.begin_with = {begin_with!r}: there is '
                     'no such file')


def _check_hardware(config):
  """Raises ValueError where devices, arrays or their writing cannot be."""
  hardware_validation.check(config)
  for layer, duration_s in hardware_validation.verified_layers(config):
    hardware_validation.check_verification(
        config, duration_s, build_hardware.read_sigma_uS(config, layer))


def _check_task(config, family):
  """Raises ValueError where the task's data, or images, cannot be used."""
  settings = build_task.settings(config)
  family.check(settings)
  if config.training.get('pretrain_steps', 0):
    try:
      family.check(build_task.pretraining_settings(config))
    except ValueError as error:
      raise ValueError(f'config.training.pretrain_way = '
                       f'{config.training.pretrain_way}: {error}') from None
  layers = config.network.get('convolutions', ())
  if layers:
    try:
      convolution.chain_shapes(family.image_shape(settings), layers)
    except ValueError as error:
      raise ValueError(f'config.network.convolutions: {error}') from None


def _check_tiles(config):
  """Raises ValueError where a layer takes more tiles than are compiled."""
  _, shapes, _ = memory.layer_shapes(defaults.flat(config), config.task.name)
  num_rows = 1 + max(inputs for inputs, _ in shapes)  # with the bias
  tile_rows = config.periphery.tile_rows
  if periphery.num_tiles(num_rows, tile_rows) > MOST_TILES:
    raise ValueError(
        f'config.periphery.tile_rows = {tile_rows}: must be at least '
        f'{-(-num_rows // MOST_TILES)}, so that the {num_rows} rows of a layer '
        f'take at most {MOST_TILES} tiles')


def _check_times(config):
  """Raises ValueError where a test would come before the last write."""
  _check_order(config, 'adapt.t_read_s', 'adapt.t_prog_s')
  checks.several('evaluation.after_s', config.evaluation.after_s, 0, INF)
  last_s = timeline.last_write_s(config)
  times = [('training.t_query_s', config.training.t_query_s),
           ('evaluation.t_test_s', config.evaluation.t_test_s)]
  times += [('evaluation.after_s', t) for t in config.evaluation.after_s]
  for field, value in times:
    if not last_s < value < INF:
      raise ValueError(f'config.{field} = {value}: must be later than the last '
                       f'write, at {last_s} s')
    if not value < clock.LIMIT_S:
      raise ValueError(f'config.{field} = {value}: must be below '
                       f'{clock.LIMIT_S:.0f} s (68 years)')
    if config.evaluation.adapt_anew != 'never':
      _check_adapt_anew(config, field, value)
  delay_s = config.adapt.t_prog_s - config.adapt.t_read_s
  if config.adapt.event_interval_s <= delay_s and config.adapt.num_events > 1:
    raise ValueError(
        f'config.adapt.event_interval_s = {config.adapt.event_interval_s}: '
        f'must exceed the {delay_s} s from reading to writing')


def _check_adapt_anew(config, field, value):
  """Raises ValueError where a chip is adapted again before it was tested."""
  query_s = config.training.t_query_s
  first_s = 2 * query_s - config.adapt.t_read_s
  if query_s < value < first_s:
    raise ValueError(
        f'config.{field} = {value}: must be at most training.t_query_s '
        f'({query_s}), or at least {first_s} for evaluation.adapt_anew, whose '
        f'support set is read {query_s - config.adapt.t_read_s} s before')


def _check_order(config, low, high):
  least, most = checks.value(config, low), checks.value(config, high)
  if least > most:
    raise ValueError(
        f'config.{low} = {least}: must not exceed {high} ({most})')
