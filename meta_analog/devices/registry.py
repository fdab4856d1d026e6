"""Registry of the device models, by the name that a config uses."""

from collections.abc import Callable
from collections.abc import Mapping
import types
from typing import Any
from typing import NamedTuple

from meta_analog.core import types as types_lib
from meta_analog.devices import hermes
from meta_analog.devices import ibm_statistical
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.devices import pcm_like
from meta_analog.devices import reram

NONE: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})


class Family(NamedTuple):
  """A device model: parameters, constructor and choices of a config.

  Attributes:
    params: `(**changes) -> NamedTuple` of scalars.
    make: `(params, max_pulses) -> types.Device`.
    signed: parameters that may be negative.
    choices: `{parameter: words}`. A config has the word, and the parameter is
      its index, a scalar like any other.
    bidirectional: whether pulses may be negative.
    noise: `{source: parameters}` that this noise is proportional to; sources
      that are absent do not exist in the technology.
  """

  params: Callable[..., Any]
  make: Callable[[Any, int], types_lib.Device]
  signed: tuple[str, ...] = ()
  choices: Mapping[str, tuple[str, ...]] = NONE
  bidirectional: bool = False
  noise: Mapping[str, tuple[str, ...]] = NONE


_READ_NOISE = {'read_noise_from': ibm_statistical.READ_NOISE_FROM}
_HERMES = Family(hermes.HermesParams, lambda p, n: hermes.make(p, max_pulses=n),
                 signed=hermes.SIGNED, choices=_READ_NOISE, noise=hermes.NOISE)
FAMILIES = {
    'pcm': Family(pcm.PCMParams, lambda p, n: pcm.make(p, max_pulses=n),
                  signed=('m1', 'program_p1', 'program_p2_per_uS'),
                  noise=pcm.NOISE),
    'pcm_like': Family(pcm_like.PCMLikeParams,
                       lambda p, n: pcm_like.make(p, max_pulses=n),
                       signed=pcm_like.SIGNED, choices=_READ_NOISE,
                       noise=pcm_like.NOISE),
    'hermes': _HERMES,
    'hermes_pair': _HERMES._replace(params=hermes.pair_params),
    'ideal': Family(ideal.IdealParams, lambda p, n: ideal.make(p),
                    bidirectional=ideal.BIDIRECTIONAL),
    'reram': Family(reram.ReRamParams,
                    lambda p, n: reram.make(p, max_pulses=n),
                    bidirectional=reram.BIDIRECTIONAL, noise=reram.NOISE),
}


def make(name: str, params: Any, max_pulses: int) -> types_lib.Device:
  """Returns the device of a technology.

  Args:
    name: key of FAMILIES.
    params: an instance of that family's params; a choice may still be the word
      of a config.
    max_pulses: most pulses in one call, static.

  Returns:
    A `types.Device`.

  Raises:
    ValueError: if the name, or the word of a choice, is unknown.
  """
  if name not in FAMILIES:
    raise ValueError(f'device = {name!r}: must be one of {sorted(FAMILIES)}')
  family = FAMILIES[name]
  for field, words in family.choices.items():
    value = getattr(params, field)
    if isinstance(value, str):
      if value not in words:
        raise ValueError(f'{field} = {value!r}: must be one of '
                         f'{", ".join(sorted(words))}')
      params = params._replace(**{field: float(words.index(value))})
  return family.make(params, max_pulses)


def default_params() -> dict[str, dict[str, float | str]]:
  """Returns the default parameters of every family, by name, for a config."""
  values = {name: dict(family.params()._asdict())
            for name, family in FAMILIES.items()}
  for name, family in FAMILIES.items():
    for field, words in family.choices.items():
      values[name][field] = words[int(values[name][field])]
  return values
