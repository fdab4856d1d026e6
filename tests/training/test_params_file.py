"""Meta-parameters as a file: what was saved, or one clear line."""

import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import errors
from meta_analog.training import params_file

PARAMS = {
    'meta/layer_0': {'u': jnp.arange(6.0).reshape(3, 2) / 7,
                     'log_gain': jnp.float32(-1.5)},
    'meta': {'log_rate': jnp.array([0.1, jnp.pi])}}
ZEROS = {module: {name: jnp.zeros_like(x) for name, x in values.items()}
         for module, values in PARAMS.items()}


@pytest.fixture
def path(tmp_path):
  params_file.save(tmp_path / 'net.npz', PARAMS)
  return tmp_path / 'net.npz'


def test_what_is_loaded_is_what_was_saved(path):
  loaded = params_file.load(path, ZEROS)
  assert loaded.keys() == PARAMS.keys()
  for module, values in PARAMS.items():
    assert loaded[module].keys() == values.keys()
    for name, value in values.items():
      np.testing.assert_array_equal(loaded[module][name], value)
      assert loaded[module][name].dtype == value.dtype


@pytest.mark.parametrize('change, words', [
    ({'u': jnp.zeros((3, 4))}, 'u is float32 of 3 x 2, not float32 of 3 x 4'),
    ({'u': jnp.zeros((3, 2), int)}, 'u is float32 of 3 x 2, not int32'),
    ({'w': jnp.zeros(1)}, 'meta/layer_0:w is missing, not float32 of 1'),
])
def test_the_file_of_another_net_is_refused(path, change, words):
  like = ZEROS | {'meta/layer_0': ZEROS['meta/layer_0'] | change}
  with pytest.raises(errors.InputError, match='another net') as caught:
    params_file.load(path, like)
  assert words in str(caught.value)


@pytest.mark.parametrize('place', [0.1, 0.5, 0.9])
def test_a_damaged_file_is_never_taken(path, place):
  content = bytearray(path.read_bytes())
  for i in range(8):
    content[int(place * len(content)) + i] ^= 0xff
  path.write_bytes(content)
  with pytest.raises((errors.CorruptFileError, errors.InputError),
                     match='net.npz'):
    params_file.load(path, ZEROS)


def test_a_file_of_objects_is_never_unpickled(path):
  class Bomb:
    def __reduce__(self):
      return pytest.fail, ('unpickled',)

  np.savez(path, **{'meta:log_rate': np.array([Bomb()], dtype=object)})
  with pytest.raises(errors.CorruptFileError, match='net.npz is damaged'):
    params_file.load(path, ZEROS)


def test_another_kind_of_file_is_refused_in_a_line(path):
  with path.open('wb') as file:
    np.save(file, np.zeros(3))
  with pytest.raises(errors.CorruptFileError, match='net.npz is damaged'):
    params_file.load(path, ZEROS)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('readme.txt', 'no array')
  with pytest.raises(errors.CorruptFileError, match='net.npz is damaged'):
    params_file.load(path, ZEROS)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused_by_name(path, value):
  params_file.save(path, PARAMS | {'meta': {'log_rate': jnp.array([value, 1])}})
  for load in (params_file.load, params_file.load_hidden):
    like = PARAMS if load is params_file.load else {
        'meta/layer_0': PARAMS['meta/layer_0'], 'meta/layer_1': {}}
    if load is params_file.load_hidden:
      params_file.save(path, {'meta/layer_0': PARAMS['meta/layer_0'] | {
          'log_gain': jnp.float32(value)}})
    with pytest.raises(errors.NonFiniteError, match='net.npz: meta.*:log_'):
      load(path, like)
