"""Number of a file's format: written into each file, checked by each reader."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np

from meta_analog.core import errors

KEY = 'format'
CURRENT = 1  # also of files without a number, from before


def numbered(content: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the content of a file, its format first unless it has one."""
  return {KEY: CURRENT} | dict(content)


def checked(path: pathlib.Path, content: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the content of a file without its number.

  Args:
    path: of the file.
    content: the object or the arrays by name that it holds.

  Raises:
    InputError: if its format is one that this version does not know.
  """
  found = content.get(KEY, CURRENT)
  if type(found) is bool or np.ndim(found) or found != CURRENT:
    raise errors.InputError(
        f'{path} has format {found}, and this version reads format {CURRENT}: '
        'read it with the version that wrote it')
  return {name: value for name, value in content.items() if name != KEY}
