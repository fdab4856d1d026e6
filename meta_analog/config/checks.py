"""Checks of single values, whose errors name the field in one line."""

from collections.abc import Collection
import math
import numbers
from typing import Any

import ml_collections

INF = math.inf
# Least and largest number of float32, in which everything is computed.
TINY, HUGE = 1.1754943508222875e-38, 3.4028234663852886e38


def value(config: ml_collections.ConfigDict, field: str) -> Any:
  """Returns the value of a dotted field.

  Raises:
    KeyError: if it is not there.
  """
  for part in field.split('.'):
    config = config[part]
  return config


def in_range(
    field: str, value: float, low: float, high: float, closed: bool = True
) -> None:
  """Raises ValueError unless value is a finite float32 from low to high.

  Args:
    field: dotted name in the config.
    value: what it holds.
    low: lowest.
    high: highest, which is allowed.
    closed: whether low itself is allowed.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  is_number(field, value)
  if not (low <= value <= high) or (value == low and not closed) or (
      not abs(value) <= HUGE):
    bound = f'at least {low}' if closed else f'greater than {low}'
    top = ' and finite in float32' if high == INF else f' and at most {high}'
    raise ValueError(f'config.{field} = {value}: must be {bound}{top}')
  if 0 < abs(value) < TINY:
    raise ValueError(f'config.{field} = {value}: is 0 in float32; must be at '
                     f'least {TINY:.3g}' + (', or 0' if closed else ''))


def is_number(field: str, value: Any) -> None:
  """Raises ValueError unless this is a number; a boolean is none."""
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    raise ValueError(f'config.{field} = {value!r}: must be a number')


def several(
    field: str, values: Any, low: float, high: float, closed: bool = True
) -> None:
  """Raises ValueError unless values are a tuple of numbers, see `in_range`."""
  if not isinstance(values, (tuple, list)):
    raise ValueError(f'config.{field} = {values!r}: must be several numbers, '
                     'such as (1.0, 2.0)')
  for value in values:
    in_range(field, value, low, high, closed)


def whole_numbers(field: str, values: Any, high: int) -> None:
  """Raises ValueError unless values are a tuple of numbers from 1 to high."""
  if not isinstance(values, (tuple, list)):
    raise ValueError(f'config.{field} = {values!r}: must be several whole '
                     'numbers, such as (40, 40)')
  for value in values:
    if isinstance(value, bool) or not isinstance(
        value, numbers.Integral) or (
        not 1 <= value <= high):
      raise ValueError(f'config.{field} = {values}: must be whole numbers from '
                       f'1 to {high}')


def is_member(field: str, value: Any, known: Collection[str]) -> None:
  """Raises ValueError, which lists the known values, unless this is one."""
  if value not in known:
    raise ValueError(f'config.{field} = {value!r}: must be one of '
                     f'{", ".join(sorted(known))}')
