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
from meta_analog.devices import reram_es

NONE: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})


class Family(NamedTuple):
  """A device model: parameters, constructor and choices of a config.

  Attributes:
    params: `(**changes) -> NamedTuple` of scalars.
    make: `(params, max_pulses, mean_scale) -> types.Device`; the last is None
      for a device that draws, see `make_noise_free`.
    lowest_uS: `params -> uS`, mean of the state that RESET leaves in the
      devices that were programmed to the lowest target.
    signed: parameters that may be negative.
    choices: `{parameter: words}`. A config has the word, and the parameter is
      its index, a scalar like any other.
    bidirectional: whether pulses may be negative.
    noise: `{source: parameters}` that this noise is proportional to; sources
      that are absent do not exist in the technology.
  """

  params: Callable[..., Any]
  make: Callable[[Any, int, Any], types_lib.Device]
  lowest_uS: Callable[[Any], Any]
  signed: tuple[str, ...] = ()
  choices: Mapping[str, tuple[str, ...]] = NONE
  bidirectional: bool = False
  noise: Mapping[str, tuple[str, ...]] = NONE


_READ_NOISE = {'read_noise_from': ibm_statistical.READ_NOISE_FROM}


def _maker(make_fn):
  return lambda params, max_pulses, mean_scale=None: make_fn(
      params, max_pulses=max_pulses, mean_scale=mean_scale)


_HERMES = Family(hermes.HermesParams, _maker(hermes.make),
                 ibm_statistical.reset_uS, signed=hermes.SIGNED,
                 choices=_READ_NOISE, noise=hermes.NOISE)
FAMILIES = {
    'pcm': Family(pcm.PCMParams, _maker(pcm.make), lambda p: p.g_reset_uS,
                  signed=('m1', 'nu_slope', 'program_p1',
                          'program_p2_per_uS'),
                  noise=pcm.NOISE),
    'pcm_like': Family(pcm_like.PCMLikeParams, _maker(pcm_like.make),
                       ibm_statistical.reset_uS, signed=pcm_like.SIGNED,
                       choices=_READ_NOISE, noise=pcm_like.NOISE),
    'hermes': _HERMES,
    'hermes_pair': _HERMES._replace(params=hermes.pair_params),
    'ideal': Family(ideal.IdealParams,
                    lambda p, n, mean_scale=None: ideal.make(p),
                    lambda p: p.g_min_uS, bidirectional=ideal.BIDIRECTIONAL),
    'reram': Family(reram.ReRamParams, _maker(reram.make),
                    lambda p: p.g_min_uS, signed=reram.SIGNED,
                    bidirectional=reram.BIDIRECTIONAL, noise=reram.NOISE),
    'reram_es': Family(reram_es.ReRamESParams, _maker(reram_es.make),
                       lambda p: p.g_min_uS, signed=reram_es.SIGNED,
                       bidirectional=reram_es.BIDIRECTIONAL,
                       noise=reram_es.NOISE),
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
  family, params = _resolve(name, params)
  return family.make(params, max_pulses, None)


def make_noise_free(
    name: str, params: Any, max_pulses: int
) -> types_lib.Device:
  """Returns the model of a technology that a controller computes with.

  It draws nothing, and its conductances are the means of what programming,
  pulses and RESET leave, clipped at the bounds of the device: near a bound not
  the target. `make` with noise_scale 0 is another thing, the limit of a device
  that has no noise at all. The two are the same where `params.noise_scale` is
  0, and within rounding where no bound is near.

  Args:
    name: see `make`.
    params: those of the devices that it models, their noise included.
    max_pulses: see `make`.

  Returns:
    A `types.Device`.

  Raises:
    ValueError: see `make`.
  """
  family, params = _resolve(name, params)
  return family.make(
      params._replace(noise_scale=0.0), max_pulses, params.noise_scale)


def lowest_uS(name: str, params: Any) -> float:
  """Returns the mean of the RESET state, the lowest that a target can be."""
  return FAMILIES[name].lowest_uS(params)


def _resolve(name, params):
  """Returns the family and its parameters, words replaced by numbers."""
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
  return family, params


def default_params() -> dict[str, dict[str, float | str]]:
  """Returns the default parameters of every family, by name, for a config."""
  values = {name: dict(family.params()._asdict())
            for name, family in FAMILIES.items()}
  for name, family in FAMILIES.items():
    for field, words in family.choices.items():
      values[name][field] = words[int(values[name][field])]
  return values
