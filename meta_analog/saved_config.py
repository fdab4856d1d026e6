"""The config of a finished run as a config file, so that fields override it."""

import pathlib

import ml_collections

from meta_analog import files


def get_config(workdir: str) -> ml_collections.ConfigDict:
  """Returns the locked config that a run left in its folder.

  Args:
    workdir: folder of the run.

  Returns:
    A locked `ConfigDict`.

  Raises:
    ValueError: if the file is something else.
    faults.DamageError: if the file is damaged.
  """
  path = pathlib.Path(workdir) / 'config.json'
  values = files.read_json(path)
  if not isinstance(values, dict) or 'network' not in values:
    raise ValueError(f'{path} is not the config of a run')
  return ml_collections.ConfigDict(_tuples(values)).lock()


def _tuples(value):
  """Returns the value with the lists of JSON as the tuples of configs."""
  if isinstance(value, dict):
    return {name: _tuples(x) for name, x in value.items()}
  return tuple(value) if isinstance(value, list) else value
