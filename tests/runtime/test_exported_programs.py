"""Traced programs: found again by all that they hang on, and no less."""

import os
import pathlib
import sys
import time
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from meta_analog.runtime import compilation
from meta_analog.runtime import environment
from meta_analog.runtime import exported_programs
from tests.helpers import kept

BEGAN_S, IMPORTED_S = exported_programs.BEGAN_S, time.time()
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ml_collections.ConfigDict({'seed': 0, 'slope': 2.0, 'size': {'n': 3}})


class Pair(NamedTuple):
  """What a program takes and gives."""

  values: jax.Array
  count: jax.Array


class Other(NamedTuple):
  """The same by another name."""

  values: jax.Array
  count: jax.Array


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
  """The folder of kept programs; no source is too young to be trusted."""
  kept.keep_in(tmp_path, monkeypatch)
  monkeypatch.setattr(compilation, 'options', lambda config: {})
  return tmp_path


def _run(config=CONFIG, *, name='double', size=3, key=None, body=None,
         kind=Pair):
  """Returns what a program gives, and how often Python traced it."""
  traced = []

  def fn(pair, key, *, scale):
    traced.append(None)
    if body is not None:
      return body(pair.values)
    noise = jax.random.normal(key, pair.values.shape)
    return (kind(scale * pair.values + noise, pair.count + 1),
            {'sum': {'of noise': jnp.sum(noise)}})

  args = (kind(jnp.arange(float(size)), jnp.int32(0)),
          jax.random.key(1) if key is None else key)
  kwargs = {'scale': np.float32(config.slope)}
  lowered = exported_programs.lower(jax.jit(fn), name, config, args, kwargs, ())
  return lowered.compile()(*args, **kwargs), len(traced)


def _changed(**fields):
  config = ml_collections.ConfigDict(CONFIG.to_dict())
  config.update(fields)
  return config


def test_the_second_process_traces_nothing_and_gets_the_same(folder):
  (first, once), (second, never) = _run(), _run()
  assert once == 1 and never == 0 and len([*folder.iterdir()]) == 1
  jax.tree.map(np.testing.assert_array_equal, first, second)
  assert isinstance(second[0], Pair) and second[0].count == 1


def test_neither_the_seed_nor_what_arguments_hold_is_part_of_a_program():
  _run()
  (pair, info), traced = _run(_changed(seed=7), key=jax.random.key(2))
  assert not traced
  noise = jax.random.normal(jax.random.key(2), (3,))
  np.testing.assert_allclose(
      pair.values, 2.0 * jnp.arange(3.0) + noise, rtol=1e-6)
  np.testing.assert_allclose(
      info['sum']['of noise'], jnp.sum(noise), rtol=1e-6)


@pytest.mark.parametrize('other', (
    {'name': 'treble'}, {'config': _changed(slope=3.0)},
    {'config': _changed(size={'n': 4})}, {'size': 4}, {'kind': Other},
    {'key': jax.random.key(1, impl='rbg')},
    {'key': jax.device_put(jax.random.key(1), jax.devices()[0])}))
def test_another_name_config_shape_type_or_place_is_another_program(other):
  _run()
  assert _run(**other)[1] == 1 and _run(**other)[1] == _run()[1] == 0


def _devices(**fields):
  device = jax.devices()[0]
  return lambda: [types.SimpleNamespace(**{
      'platform': device.platform, 'device_kind': device.device_kind,
      'id': device.id} | fields)]


@pytest.mark.parametrize('owner, field, value', (
    (environment, 'versions', lambda: {'jax': '0.0'}), (sys, 'version', '2.7'),
    (jax, 'devices', _devices(platform='tpu')),
    (jax, 'devices', _devices(device_kind='another')),
    (jax, 'devices', _devices(id=7))))
def test_other_versions_or_devices_are_another_program(
    monkeypatch, owner, field, value):
  monkeypatch.setattr(jax, 'devices', _devices())
  _run()
  with monkeypatch.context() as patch:
    patch.setattr(owner, field, value)
    assert _run()[1] == 1 and _run()[1] == 0
  assert _run()[1] == 0


def test_what_is_installed_anew_is_another_program(
    monkeypatch, tmp_path_factory):
  folder = tmp_path_factory.mktemp('installed')
  monkeypatch.setattr(exported_programs, '_installed', lambda: [str(folder)])
  monkeypatch.setattr(exported_programs, '_own', set)
  assert _run()[1] == 1 and _run()[1] == 0
  (folder / 'device-1.0.dist-info').mkdir()
  assert _run()[1] == 1 and _run()[1] == 0
  os.utime(folder / 'device-1.0.dist-info', (1, 1))  # the same version again
  assert _run()[1] == 1 and _run()[1] == 0


def test_another_setting_of_jax_is_another_program_but_not_another_folder():
  _run()
  for name, value, times in (('jax_threefry_partitionable', False, 1),
                             ('jax_compilation_cache_dir', '/nowhere', 0)):
    before = getattr(jax.config, name)
    assert before != value
    jax.config.update(name, value)
    try:
      assert _run()[1] == times
    finally:
      jax.config.update(name, before)


@pytest.fixture
def source(monkeypatch, tmp_path_factory):
  """Writes the file of a module that is neither installed nor Python's own."""
  path = tmp_path_factory.mktemp('sources') / 'a_persons_device.py'
  module = types.ModuleType('a_persons_device')
  module.__file__ = str(path)
  monkeypatch.setitem(sys.modules, module.__name__, module)
  path.write_text('SLOPE = 1')
  return path


def test_another_source_is_another_program(source, folder):
  assert _run()[1] == 1 and _run()[1] == 0
  source.write_text('SLOPE = 2')
  assert _run()[1] == 1 and _run()[1] == 0
  source.write_text('SLOPE = 1')
  assert _run()[1] == 0 and len([*folder.iterdir()]) == 2


def test_all_of_this_package_is_a_source():
  files = exported_programs._own()
  package = ROOT / 'meta_analog'
  assert {*package.glob('*.py'), *package.glob('*/*.py'),
          package / 'reporting' / 'recorded.json',
          pathlib.Path(__file__)} <= files
  installed = exported_programs._installed()
  assert any((pathlib.Path(folder) / 'jax').is_dir() for folder in installed)
  assert not any(str(path).startswith(f'{folder}{os.sep}')
                 for path in files - {*package.rglob('*')}
                 for folder in installed)


def test_a_source_is_young_if_this_process_may_have_begun_before_it():
  assert BEGAN_S < IMPORTED_S - 29.0


@pytest.mark.parametrize('why', (
    'young', 'moved here', 'gone', 'no main file', 'typed in'))
def test_nothing_is_kept_or_taken_where_sources_may_not_be_what_runs(
    why, source, folder, monkeypatch):
  _run()
  kept = {path: path.read_bytes() for path in folder.iterdir()}
  began_s = source.stat().st_mtime - 1.0
  if why in ('young', 'moved here'):
    monkeypatch.setattr(exported_programs, '_own', lambda: {source})
    monkeypatch.setattr(exported_programs, 'BEGAN_S', began_s)
    if why == 'moved here':  # with the time that it had elsewhere
      os.utime(source, (1, 1))
  elif why == 'gone':
    source.unlink()
  elif why == 'no main file':
    monkeypatch.delattr(sys.modules['__main__'], '__file__')
  else:
    monkeypatch.setattr(sys, 'ps1', '>>> ', raising=False)
  assert _run()[1] == _run()[1] == 1
  assert kept == {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('patch', (
    (compilation, 'folder', lambda: None), (jax, 'process_count', lambda: 2)))
def test_nothing_is_kept_without_a_folder_or_of_several_processes(
    patch, folder, monkeypatch):
  monkeypatch.setattr(*patch)
  assert _run()[1] == _run()[1] == 1 and not [*folder.iterdir()]


def test_what_cannot_be_kept_is_traced_each_time(folder):
  def host(x):
    return jax.pure_callback(
        lambda x: 2.0 * np.asarray(x), jax.typeof(x), x)

  for _ in range(2):
    out, _ = _run(body=host)
    np.testing.assert_array_equal(out, [0.0, 2.0, 4.0])
  assert not [*folder.iterdir()]


def test_what_imports_while_it_is_traced_is_not_kept(
    folder, monkeypatch, tmp_path_factory):
  path = tmp_path_factory.mktemp('sources') / 'late.py'
  path.write_text('SLOPE = 1')

  def body(x):
    module = types.ModuleType('late')
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, 'late', module)
    return x

  assert _run(body=body)[1] == 1 and not [*folder.iterdir()]


def test_a_config_with_more_than_json_is_not_kept(folder):
  config = _changed(table=np.arange(3.0))
  assert _run(config)[1] == 1 and not [*folder.iterdir()]


def test_a_text_that_cannot_be_used_is_traced_again(folder):
  _run()
  path, = folder.iterdir()
  name = path.name.removesuffix(f'-{compilation.machine()}')
  (compilation.Entry(folder) / name).write_bytes(b'no program at all')
  (pair, _), traced = _run()
  assert traced == 1 and pair.count == 1


def test_options_of_the_compiler_count_for_a_program_that_is_kept(monkeypatch):
  monkeypatch.setattr(
      compilation, 'options', lambda config: {'no_such_option': 1})
  for _ in range(2):
    with pytest.raises(Exception, match='no_such_option'):
      _run()


def test_an_error_of_the_program_is_raised_as_it_is():
  with pytest.raises(TypeError, match='reshape') as caught:
    _run(body=lambda x: x.reshape(2, 2))
  assert caught.value.__context__ is None


def test_a_damaged_program_is_traced_again(folder):
  _run()
  path, = folder.iterdir()
  whole = path.read_bytes()
  path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  assert _run()[1] == 1 and _run()[1] == 0
