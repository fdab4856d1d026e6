"""File of trained meta-parameters: plain arrays in a .npz.

`parameters.npz` holds every array of a net by its module and name; nothing in
it is run, and it fits nets of the same shapes only.
"""

from collections.abc import Mapping
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from meta_analog.core import errors
from meta_analog.learning import transforms
from meta_analog.runtime import atomic_files

FILE = 'parameters.npz'  # in the folder of a run
_LAYER = re.compile(r'layer_(\d+)$')


def save(path: pathlib.Path, params: transforms.Params) -> None:
  """Writes a file, whole or not at all."""
  atomic_files.write_npz(path, {
      name: np.asarray(value) for name, value in _flat(params).items()})


def load(path: pathlib.Path, like: transforms.Params) -> transforms.Params:
  """Returns the meta-parameters of a file.

  Args:
    path: of the file.
    like: of the net that they are for.

  Returns:
    Parameters with the names, shapes and types of `like`.

  Raises:
    errors.InputError: if there is no such file, or it is of another net.
    errors.CorruptFileError: if it is damaged.
    errors.NonFiniteError: if a number of it is not finite.
  """
  found = _read(path)
  for name in sorted({*found} - {*_flat(like)}):
    raise _other(path, name, None, found[name])
  return _taken(path, like, found)


def load_hidden(
    path: pathlib.Path, like: transforms.Params
) -> transforms.Params:
  """Returns meta-parameters whose hidden layers are those of a file.

  Args:
    path: of the file.
    like: what the rest is: the output layer, which may have another number of
      classes in the file, and the settings of the rule.

  Returns:
    Parameters with the names, shapes and types of `like`.

  Raises:
    errors.InputError: if there is no such file, or its hidden layers are of
      another net.
    errors.CorruptFileError: if it is damaged.
    errors.NonFiniteError: if a number of it is not finite.
  """
  layers = sorted((name for name in like if _LAYER.search(name)),
                  key=lambda name: int(_LAYER.search(name)[1]))
  hidden = {name: like[name] for name in layers[:-1]}
  return like | _taken(path, hidden, _read(path))


def nested(arrays: Mapping[str, np.ndarray]) -> transforms.Params:
  """Returns the arrays of a file, {module:name: array}, as Haiku nests them.

  Args:
    arrays: of a file that `save` wrote.

  Returns:
    {module: {name: array}}.
  """
  params = {}
  for key, value in arrays.items():
    module, _, name = key.rpartition(':')
    params.setdefault(module, {})[name] = value
  return params


def _flat(params):
  """Returns {module:name: array}."""
  return {f'{module}:{name}': value for module, values in params.items()
          for name, value in values.items()}


def _words(array):
  if array is None:
    return 'missing'
  size = ' x '.join(map(str, array.shape))
  return f'{array.dtype} of {size or "one number"}'


def _read(path):
  """Returns the arrays of a file by name; raises what `load` raises."""
  if not path.is_file():
    raise errors.InputError(f'there is no file {path} of meta-parameters')
  return atomic_files.read_npz(path)


def _taken(path, like, found):
  """Returns arrays that were found in the place of those in `like`."""
  shape = lambda x: x if x is None else (x.shape, str(x.dtype))
  for name, value in sorted(_flat(like).items()):
    if shape(value) != shape(found.get(name)):
      raise _other(path, name, value, found.get(name))
    if not np.all(np.isfinite(found[name])):
      raise errors.NonFiniteError(
          f'{path}: {name} holds numbers that are not finite')
  return {module: {name: jnp.asarray(found[f'{module}:{name}'])
                   for name in values} for module, values in like.items()}


def _other(path, name, expected, there):
  return errors.InputError(
      f'{path} holds the meta-parameters of another net: {name} is '
      f'{_words(there)}, not {_words(expected)}')
