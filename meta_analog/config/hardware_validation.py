"""Validation of devices, arrays, periphery and writing in a config."""

from collections.abc import Collection
from collections.abc import Mapping
import math
import types

import ml_collections

from meta_analog.config import checks
from meta_analog.config import noise_sources
from meta_analog.config import targets
from meta_analog.config import timeline
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.devices import registry as device_registry
from meta_analog.programming import refresh
from meta_analog.programming import verify_options

# Parameters of a device that must not be 0, and those that are at most 1. None
# is negative, except where its family says so.
POSITIVE = ('memory_pulses', 't0_s', 't_read_s', 'step_uS', 'g_max_uS',
            'program_range_uS', 'set_range_uS', 'nu_range_uS')
SHARES = ('pulse_memory_after_program', 'nu_mean_break', 'nu_std_break',
          'read_break')
# field: its words
CHOICES: Mapping[str, Collection[str]] = types.MappingProxyType({
    'device': device_registry.FAMILIES,
    'crossbar.drift_compensation': drift_compensation.COMPENSATIONS,
    'adapt.write': ('open_loop', 'verified', 'exact'),
    'adapt.refresh': ('none', 'threshold', 'update_ready'),
    'evaluation.programming': ('statistical', 'verified', 'descent'),
})


def check(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError, in one line, at the first value that cannot be.

  Args:
    config: whose times were checked before.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for field, words in CHOICES.items():
    checks.is_member(field, checks.value(config, field), words)
  for field, value in config.prices.items():
    checks.in_range(f'prices.{field}', value, *price_range(field))
  for name, params in config.device_params.items():
    checks.is_member('device_params', name, device_registry.FAMILIES)
    _check_params(f'device_params.{name}', params,
                  device_registry.FAMILIES[name])
  if not config.crossbar.calibrate_after_s < config.adapt.t_read_s:
    raise ValueError('config.crossbar.calibrate_after_s = '
                     f'{config.crossbar.calibrate_after_s}: must be below '
                     f'adapt.t_read_s ({config.adapt.t_read_s})')
  noise_sources.check(config)
  _check_device(config)
  _check_verify_options(config)


def range_of(parameter: str) -> tuple[float, float, bool]:
  """Returns (lowest, highest, lowest allowed) of a device's parameter."""
  return (0, 1 if parameter in SHARES else math.inf, parameter not in POSITIVE)


def price_range(field: str) -> tuple[float, float, bool]:
  """Returns (lowest, highest, lowest allowed) of a price."""
  return (0, math.inf, field != 'parallel_writes')


def _check_params(path, params, family):
  """Raises ValueError where a parameter of a technology cannot be."""
  for field, value in params.items():
    name = f'{path}.{field}'
    if field in family.choices:
      checks.is_member(name, value, family.choices[field])
    elif field in family.signed:
      checks.in_range(name, value, -math.inf, math.inf)
    else:
      checks.in_range(name, value, *range_of(field))
  for low, value in params.items():
    high = low.removesuffix('_min') + '_max'
    if low.endswith('_min') and value > params[high]:
      raise ValueError(f'config.{path}.{low} = {value}: must not exceed '
                       f'{high} ({params[high]})')
  for field in ('g_reset_min_uS', 'g_reset_uS'):
    if params.get(field, 0.0) > params.get('g_max_uS', math.inf):
      raise ValueError(f'config.{path}.{field} = {params[field]}: must not '
                       f'exceed g_max_uS ({params.g_max_uS})')
  if 't_read_s' in params and params.t_read_s >= params.t0_s:
    raise ValueError(f'config.{path}.t_read_s = {params.t_read_s}: must be '
                     f'below t0_s ({params.t0_s})')


def _check_device(config):
  """Raises ValueError where the device cannot hold the targets."""
  params = config.device_params[config.device]
  if params.g_min_uS >= params.g_max_uS:
    raise ValueError(
        f'config.device_params.{config.device}.g_min_uS = {params.g_min_uS}: '
        f'must be below g_max_uS ({params.g_max_uS})')
  top = targets.floor_uS(config) + config.crossbar.span_uS
  if config.crossbar.floor_uS < params.g_min_uS or top > params.g_max_uS:
    raise ValueError(
        f'config.crossbar.floor_uS = {config.crossbar.floor_uS}, span_uS = '
        f'{config.crossbar.span_uS}: targets must stay within '
        f'[{params.g_min_uS}, {params.g_max_uS}] uS of {config.device}')
  _check_refresh(config, params)
  _check_exact(config)
  _check_drift(config)


def _check_drift(config):
  """Raises ValueError where converters cannot measure drift."""
  if config.crossbar.drift_compensation not in drift_compensation.MEASURED:
    return
  try:
    drift_compensation.check_range(
        periphery_lib.Periphery(**config.periphery))
  except ValueError as error:
    raise ValueError(f'config.periphery.{error}') from None


def _check_exact(config):
  """Raises ValueError where a write cannot be exact."""
  if config.adapt.write != 'exact':
    return
  if config.device != 'ideal':
    raise ValueError(
        f"config.adapt.write = 'exact': must be open_loop or verified for "
        f"{config.device}; only the device ideal can be written exactly")
  if config.crossbar.stuck_fraction:
    raise ValueError(
        f'config.crossbar.stuck_fraction = {config.crossbar.stuck_fraction}: '
        "must be 0 with adapt.write = 'exact'")


def _check_refresh(config, params):
  """Raises ValueError where a rule of refresh could never act."""
  adapt = config.adapt
  if adapt.refresh == 'none':
    return
  if device_registry.FAMILIES[config.device].bidirectional:
    raise ValueError(
        f'config.adapt.refresh = {adapt.refresh!r}: must be none for '
        f'{config.device}, whose pulses go both ways')
  try:
    refresh.check(adapt.refresh_level_uS, adapt.refresh_difference_uS,
                  adapt.refresh_ceiling_uS, params.g_max_uS)
  except ValueError as error:
    raise ValueError(f'config.adapt.refresh_{error}') from None


def _check_verify_options(config):
  """Raises ValueError where program-and-verify has options of no use."""
  for field, limits in verify_options.RANGES.items():
    checks.in_range(f'verification.{field}', config.verification[field],
                    *limits)
  level_uS = config.verification.level_uS
  g_max_uS = config.device_params[config.device].g_max_uS
  if verified_layers(config) and level_uS > g_max_uS:
    raise ValueError(
        f'config.verification.level_uS = {level_uS}: must be at most '
        f'g_max_uS ({g_max_uS}) of {config.device}')


def verified_layers(
    config: ml_collections.ConfigDict
) -> list[tuple[str, float]]:
  """Returns the layers that are verified, and the time that each may take.

  Args:
    config: whose names were checked.

  Returns:
    (layer, s until its weights are required) of each use of a verification.
  """
  uses = []
  if config.adapt.write == 'verified':
    written = ('output', 'hidden')[:1 + (config.adapt.layers == 'all')]
    uses += [(layer, timeline.settle_limit_s(config)) for layer in written]
  if config.evaluation.programming == 'verified':
    # It ends by time 0, and the first calibration comes later.
    uses += [(layer, math.inf) for layer in noise_sources.LAYERS]
  return uses


def check_verification(
    config: ml_collections.ConfigDict, duration_s: float, sigma_uS: float
) -> None:
  """Raises ValueError where a verification cannot end as it should.

  Args:
    config: checked by `check`.
    duration_s: that it may take, see `verified_layers`.
    sigma_uS: standard deviation of one read of a pair.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  bidirectional = device_registry.FAMILIES[config.device].bidirectional
  params = config.device_params[config.device]
  try:
    verify_options.check(
        verify_options.VerifyOptions(**config.verification), sigma_uS,
        duration_s=duration_s, step_uS=params.step_uS if bidirectional else 0.0)
  except ValueError as error:
    raise ValueError(f'config.verification.{error}') from None
