"""Sources of noise, each scaled by its factor in `config.noise`.

    program        of a target, by the statistics
    read           of every read
    write          of pulses and RESETs, over cycles and devices
    drift_spread   of the drift, of all layers together

Each factor multiplies the standard deviation of one source and leaves all
others, and all means, as they are; 0 switches it off, so what is left of an
error names the source. `noise_scale` multiplies all of them as well. The
parameters that make up a source stand in the device's file (NOISE).
"""

from collections.abc import Mapping
from typing import Any

import ml_collections

from meta_analog.config import checks
from meta_analog.devices import registry as device_registry

LAYERS = ('hidden', 'output')
OF_A_LAYER = ('program', 'read', 'write')
SHARED = 'drift_spread'
FIELDS = tuple(f'{layer}_{source}' for layer in LAYERS
               for source in OF_A_LAYER) + (SHARED,)


def params_of(
    config: ml_collections.ConfigDict, layer: str
) -> dict[str, Any]:
  """Returns the device's parameters in a layer, their noise scaled.

  Args:
    config: checked.
    layer: of LAYERS.

  Returns:
    {parameter: value}, for the family's params.
  """
  values = dict(config.device_params[config.device])
  for source, names in device_registry.FAMILIES[config.device].noise.items():
    field = source if source == SHARED else f'{layer}_{source}'
    for name in names:
      values[name] = config.noise[field] * values[name]
  return values


def differ(config: ml_collections.ConfigDict) -> bool:
  """Returns whether hidden and output layers have other parameters."""
  return params_of(config, 'hidden') != params_of(config, 'output')


def check(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError, in one line, at the first factor that cannot be.

  Args:
    config: whose device is known.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  known = device_registry.FAMILIES[config.device].noise
  for field in FIELDS:
    value = config.noise[field]
    checks.in_range(f'noise.{field}', value, 0, checks.INF)
    source = field.removeprefix('hidden_').removeprefix('output_')
    if value != 1 and source not in known:
      raise ValueError(f'config.noise.{field} = {value}: must be 1 for '
                       f'{config.device}, which has no such noise')


def has_slow_noise(flat: Mapping[str, Any]) -> bool:
  """Returns whether reads of a config's chips share slow read noise.

  Args:
    flat: the config's fields by dotted name.
  """
  return flat['crossbar.slow_read_noise'] and (
      flat['adapt.num_events'] > 1 or flat['adapt.write'] == 'verified'
      or flat['adapt.refresh'] != 'none'
      or flat['evaluation.programming'] != 'statistical')
