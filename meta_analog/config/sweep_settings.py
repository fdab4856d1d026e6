"""What a sweep sets: its members, the config of each, and what cannot be.

`config.sweep` holds three axes, each the values of one field of the config:

    seeds           seed
    noise_scales    device_params.<device>.noise_scale
    learning_rates  training.learning_rate

Its members are the product of the axes that are not empty; all empty is a
single run.
"""

import itertools
import math
from typing import Any
from typing import NamedTuple

import ml_collections

from meta_analog.config import checks

# axis: (name of one value, lowest, highest, whether the lowest is allowed)
AXES = {
    'seeds': ('seed', 0, 2**32 - 1, True),
    'noise_scales': ('noise_scale', 0, math.inf, True),
    'learning_rates': ('learning_rate', 0, math.inf, False),
}


class Member(NamedTuple):
  """One run of a sweep."""

  name: str  # 'seed=1,noise_scale=2', also of its folder
  values: dict[str, int | float]  # {'seed': 1, 'noise_scale': 2.0}


def members(config: ml_collections.ConfigDict) -> tuple[Member, ...]:
  """Returns the members of a sweep, the last axis fastest; () of a single run.

  Args:
    config: checked.
  """
  swept = {AXES[axis][0]: config.sweep[axis] for axis in AXES
           if config.sweep[axis]}
  if not swept:
    return ()
  return tuple(
      Member(','.join(f'{name}={value:.12g}'
                      for name, value in zip(swept, values)),
             {name: value if name == 'seed' else float(value)
              for name, value in zip(swept, values)})
      for values in itertools.product(*swept.values()))


def config_of(
    config: ml_collections.ConfigDict, member: Member
) -> ml_collections.ConfigDict:
  """Returns the locked config of the separate run that a member stands for.

  Args:
    config: of the sweep.
    member: of it.
  """
  out = ml_collections.ConfigDict(config.to_dict())
  for axis in AXES:
    out.sweep[axis] = ()
  out.sweep.members_at_once = 0
  values = member.values
  out.seed = values.get('seed', out.seed)
  device = out.device_params[out.device]
  device.noise_scale = values.get('noise_scale', device.noise_scale)
  out.training.learning_rate = values.get(
      'learning_rate', out.training.learning_rate)
  return out.lock()


def check(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError, in one line, where a sweep cannot be.

  Args:
    config: any; of most of its other fields nothing is asked.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for axis, (_, low, high, closed) in AXES.items():
    values, field = config.sweep[axis], f'sweep.{axis}'
    if not isinstance(values, tuple | list):
      raise ValueError(f'config.{field} = {values!r}: must be a tuple, such '
                       'as (1,) or (1, 2)')
    kinds = int if axis == 'seeds' else int | float
    for value in values:
      if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(
            f'config.{field} = {values}: {value!r} is no '
            f'{"whole number" if axis == "seeds" else "number"}')
      checks.in_range(field, value, low, high, closed)
    if len({f'{value:.12g}' for value in values}) < len(values):
      raise ValueError(f'config.{field} = {values}: must differ from each '
                       'other, or two members would be one')
  if config.sweep.noise_scales and config.device == 'ideal':
    raise ValueError(f'config.sweep.noise_scales = {config.sweep.noise_scales}:'
                     ' must be empty for ideal, a device without noise')
  for name, none in (('pretrain_steps', 0), ('begin_with', '')):
    value = config.training.get(name, none)
    if value != none and members(config):
      raise ValueError(f'config.training.{name} = {value!r}: must be {none!r} '
                       'in a sweep, whose members begin untrained')
  _check_width(config.sweep.members_at_once, len(members(config)))


def _check_width(width: Any, num_members: int) -> None:
  """Raises ValueError where members cannot be computed so many at a time."""
  field = 'config.sweep.members_at_once'
  if isinstance(width, bool) or not isinstance(width, int) or width < 0:
    raise ValueError(f'{field} = {width!r}: must be a whole number, at least 0')
  if num_members and width and num_members % width:
    raise ValueError(
        f'{field} = {width}: must divide the {num_members} members')
