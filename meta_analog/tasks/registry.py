"""Task families, one per file, all with the contract of `types.Task`."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from meta_analog.core import types
from meta_analog.tasks import nmnist
from meta_analog.tasks import omniglot
from meta_analog.tasks import sinusoid


class Family(NamedTuple):
  """A task family, and the settings that it accepts.

  Settings are the fields of a config's task, and the network's num_time_steps
  and dt_ms.

  Attributes:
    from_settings: checked settings to a `types.Task`.
    check: raises ValueError, in one line, where settings in their ranges, or
      the data that they name, cannot be used.
    ranges: `{field: (lowest, highest, whether the lowest is allowed)}`.
    codes: how its inputs may enter a network, see `encoding`.
    image_shape: settings to height, width and channels of its images; None
      where it has none.
  """

  from_settings: Callable[[dict[str, Any]], types.Task]
  check: Callable[[dict[str, Any]], None]
  ranges: Mapping[str, tuple[float, float, bool]]
  codes: tuple[str, ...]
  image_shape: Callable[[dict[str, Any]], tuple[int, int, int]] | None = None


FAMILIES = {
    'sinusoid': Family(sinusoid.from_settings, sinusoid.check, sinusoid.RANGES,
                       ('current',)),
    'omniglot': Family(omniglot.from_settings, omniglot.check, omniglot.RANGES,
                       ('current', 'latency', 'rate'), omniglot.image_shape),
    'nmnist': Family(nmnist.from_settings, nmnist.check, nmnist.RANGES,
                     ('events',), nmnist.image_shape),
}


def make(name: str, settings: dict[str, Any]) -> types.Task:
  """Returns the task family of a name.

  Args:
    name: key of FAMILIES.
    settings: checked by the family, see `Family`.

  Returns:
    A `types.Task`.

  Raises:
    ValueError: if the name is unknown, or the data are missing or damaged.
  """
  if name not in FAMILIES:
    raise ValueError(f'task.name = {name!r}: must be one of {sorted(FAMILIES)}')
  return FAMILIES[name].from_settings(settings)
