"""Task families, one per file, all with the contract of base.Task."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from meta_analog.core import types
from meta_analog.tasks import nmnist
from meta_analog.tasks import omniglot
from meta_analog.tasks import sinusoid


class Family(NamedTuple):
  """A task family and what a config may say of it.

  Attributes:
    from_settings: the fields of a config's task, and the network's
      num_time_steps and dt_ms, to a `types.Task`.
    ranges: `{field: (lowest, highest, whether the lowest is allowed)}`.
    codes: how its inputs may enter a network, see `encoding`.
  """

  from_settings: Callable[[dict[str, Any]], types.Task]
  ranges: Mapping[str, tuple[float, float, bool]]
  codes: tuple[str, ...]


FAMILIES = {
    'sinusoid': Family(
        sinusoid.from_settings, sinusoid.RANGES, ('current',)),
    'omniglot': Family(omniglot.from_settings, omniglot.RANGES,
                       ('current', 'latency', 'rate')),
    'nmnist': Family(nmnist.from_settings, nmnist.RANGES, ('events',)),
}


def make(name: str, settings: dict[str, Any]) -> types.Task:
  """Returns the task family of a name.

  Args:
    name: key of FAMILIES.
    settings: see `Family`.

  Returns:
    A `types.Task`.

  Raises:
    ValueError: if the name is unknown, or its data are missing or damaged.
  """
  if name not in FAMILIES:
    raise ValueError(f'task.name = {name!r}: must be one of {sorted(FAMILIES)}')
  return FAMILIES[name].from_settings(settings)
