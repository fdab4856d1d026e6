"""Config that a run left in its folder."""

import pathlib

import ml_collections

from meta_analog.config import saved
from meta_analog.runtime import atomic_files


def get_config(workdir: str) -> ml_collections.ConfigDict:
  """Returns the locked config that a run left in its folder.

  Args:
    workdir: folder of the run.

  Raises:
    InputError: if the file is something else.
    CorruptFileError: if the file is damaged.
  """
  path = pathlib.Path(workdir) / 'config.json'
  return saved.from_json(atomic_files.read_json(path), str(path))
