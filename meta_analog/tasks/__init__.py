"""Task families, one per file, all with the contract of base.Task."""

from typing import Any

from meta_analog import base
from meta_analog.tasks import sinusoid


def make(name: str, settings: dict[str, Any]) -> base.Task:
  """Returns the task family of a name.

  Args:
    name: 'sinusoid'.
    settings: support_size, query_size, and the family's own ranges.

  Returns:
    A `base.Task`.

  Raises:
    ValueError: if the name is unknown.
  """
  if name != 'sinusoid':
    raise ValueError(f"task.name = {name!r}: must be one of ['sinusoid']")
  sizes = {k: settings[k] for k in ('support_size', 'query_size')}
  ranges = {k: settings[k] for k in sinusoid.SinusoidParams._fields}
  return sinusoid.make(sinusoid.SinusoidParams(**ranges), **sizes)
