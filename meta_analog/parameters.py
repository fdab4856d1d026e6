"""Trained meta-parameters as one small file of plain arrays.

`parameters.npz` holds every array of a net by its module and name; nothing in
it is run, and it fits nets of the same shapes only.
"""

import pathlib
import zipfile
import zlib

import jax.numpy as jnp
import numpy as np

from meta_analog import faults
from meta_analog import files
from meta_analog import networks
from meta_analog import settings

FILE = 'parameters.npz'  # in the folder of a run


def save(path: pathlib.Path, params: networks.Params) -> None:
  """Writes a file, whole or not at all."""
  files.write_npz(path, {
      name: np.asarray(value) for name, value in _flat(params).items()})


def load(path: pathlib.Path, like: networks.Params) -> networks.Params:
  """Returns the meta-parameters of a file.

  Args:
    path: of the file.
    like: of the net that they are for.

  Returns:
    Parameters with the names, shapes and types of `like`.

  Raises:
    settings.InputError: if there is no such file, or it is of another net.
    faults.DamageError: if it is damaged.
  """
  if not path.is_file():
    raise settings.InputError(f'there is no file {path} of meta-parameters')
  try:
    with np.load(path, allow_pickle=False) as data:
      found = {name: np.asarray(data[name]) for name in data.files}
  except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError,
          zipfile.BadZipFile, zlib.error) as error:
    raise faults.DamageError(
        f'{path} is damaged: {faults.reason(error)}') from None
  shapes = lambda flat: {
      name: (value.shape, str(value.dtype)) for name, value in flat.items()}
  wanted, there = shapes(_flat(like)), shapes(found)
  for name in sorted({*wanted, *there}):
    if wanted.get(name) != there.get(name):
      raise settings.InputError(
          f'{path} holds the meta-parameters of another net: {name} is '
          f'{_words(there.get(name))}, not {_words(wanted.get(name))}')
  return {module: {name: jnp.asarray(found[f'{module}:{name}'])
                   for name in values} for module, values in like.items()}


def _flat(params):
  """Returns {module:name: array}."""
  return {f'{module}:{name}': value for module, values in params.items()
          for name, value in values.items()}


def _words(shape_and_type):
  if shape_and_type is None:
    return 'missing'
  shape, dtype = shape_and_type
  return f'{dtype} of {" x ".join(map(str, shape)) or "one number"}'

