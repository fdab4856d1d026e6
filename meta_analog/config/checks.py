"""Checks of single values, whose errors name the field in one line."""

from collections.abc import Collection
import math
from typing import Any

import ml_collections

INF = math.inf


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
  """Raises ValueError unless value is finite and from low to high.

  Args:
    field: dotted name in the config.
    value: what it holds.
    low: lowest.
    high: highest, which is allowed.
    closed: whether low itself is allowed.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if not (low <= value <= high) or (value == low and not closed) or (
      not math.isfinite(value)):
    bound = f'at least {low}' if closed else f'greater than {low}'
    top = '' if high == INF else f' and at most {high}'
    raise ValueError(f'config.{field} = {value}: must be {bound}{top}')


def is_member(field: str, value: Any, known: Collection[str]) -> None:
  """Raises ValueError, which lists the known values, unless this is one."""
  if value not in known:
    raise ValueError(f'config.{field} = {value!r}: must be one of '
                     f'{", ".join(sorted(known))}')
