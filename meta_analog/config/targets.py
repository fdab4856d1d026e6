"""Target conductances that a config allows."""

import ml_collections

from meta_analog.config import noise_sources
from meta_analog.devices import registry as device_registry


def floor_uS(config: ml_collections.ConfigDict) -> float:
  """Returns the lowest target: crossbar.floor_uS, or the RESET state above it.

  A device whose target is not above its RESET state is RESET, so a lower target
  would only make differences of pairs come out too small.
  """
  params = device_registry.FAMILIES[config.device].params(
      **noise_sources.params_of(config, 'output'))
  return max(config.crossbar.floor_uS,
             device_registry.lowest_uS(config.device, params))
