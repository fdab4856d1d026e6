"""Memory technologies, one per file, all with the contract of base.Device."""

from typing import Any
from typing import NamedTuple

from meta_analog import base
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.devices import reram


class Family(NamedTuple):
  """A technology: its parameters' type and its constructor."""

  params: type[Any]
  make: Any  # (params, max_pulses) -> base.Device


FAMILIES = {
    'pcm': Family(pcm.PCMParams,
                  lambda p, n: pcm.make(p, max_pulses=n)),
    'ideal': Family(ideal.IdealParams, lambda p, n: ideal.make(p)),
    'reram': Family(reram.ReRamParams,
                    lambda p, n: reram.make(p, max_pulses=n)),
}


def make(name: str, params: Any, max_pulses: int) -> base.Device:
  """Returns the device of a technology.

  Args:
    name: key of FAMILIES.
    params: an instance of that family's params.
    max_pulses: most pulses in one call, static.

  Returns:
    A `base.Device`.

  Raises:
    ValueError: if the name is unknown.
  """
  if name not in FAMILIES:
    raise ValueError(f'device = {name!r}: must be one of {sorted(FAMILIES)}')
  return FAMILIES[name].make(params, max_pulses)


def default_params() -> dict[str, dict[str, float]]:
  """Returns the default parameters of every family, by name, for a config."""
  return {name: dict(family.params()._asdict())
          for name, family in FAMILIES.items()}
