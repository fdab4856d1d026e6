"""What a value of a config may be, said in one line where it is not."""

from collections.abc import Collection
import math
from typing import Any

INF = math.inf


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
  """Raises ValueError, which lists what is known, unless value is there."""
  if value not in known:
    raise ValueError(f'config.{field} = {value!r}: must be one of '
                     f'{", ".join(sorted(known))}')
