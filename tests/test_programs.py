"""Traced programs: found again by all that they hang on, and no less."""

import json
import math
import os
import pathlib
import subprocess
import sys
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from meta_analog import compilation
from meta_analog import environment
from meta_analog import programs

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = ml_collections.ConfigDict({'seed': 0, 'slope': 2.0, 'size': {'n': 3}})


class Pair(NamedTuple):
  """What a program takes and gives."""

  values: jax.Array
  count: jax.Array


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
  """The folder of kept programs; no source is too young to be trusted."""
  # pytest's own workers have no main file.
  monkeypatch.setattr(
      sys.modules['__main__'], '__file__', __file__, raising=False)
  monkeypatch.setattr(
      compilation, 'folder', lambda: compilation.Entry(tmp_path))
  monkeypatch.setattr(programs, 'BEGAN_S', math.inf)
  return tmp_path


def _run(config=CONFIG, *, name='double', size=3, key=None, body=None):
  """Returns what a program gives, and how often Python traced it."""
  traced = []

  def fn(pair, key, *, scale):
    traced.append(None)
    if body is not None:
      return body(pair.values)
    noise = jax.random.normal(key, pair.values.shape)
    return (Pair(scale * pair.values + noise, pair.count + 1),
            {'sum': {'of noise': jnp.sum(noise)}})

  args = (Pair(jnp.arange(float(size)), jnp.int32(0)),
          jax.random.key(1) if key is None else key)
  kwargs = {'scale': np.float32(config.slope)}
  lowered = programs.lower(jax.jit(fn), name, config, args, kwargs, {})
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
    {'config': _changed(size={'n': 4})}, {'size': 4},
    {'key': jax.random.key(1, impl='rbg')},
    {'key': jax.device_put(jax.random.key(1), jax.devices()[0])}))
def test_another_name_config_shape_type_or_place_is_another_program(other):
  _run()
  assert _run(**other)[1] == 1 and _run(**other)[1] == _run()[1] == 0


@pytest.mark.parametrize('owner, field', (
    (environment, 'versions'), (jax, 'devices'), (sys, 'version')))
def test_other_versions_or_devices_are_another_program(
    monkeypatch, owner, field):
  _run()
  value = {'versions': lambda: {'jax': '0.0'}, 'version': '2.7',
           'devices': lambda: [types.SimpleNamespace(
               platform='tpu', device_kind='one', id=0)]}[field]
  with monkeypatch.context() as patch:
    patch.setattr(owner, field, value)
    assert _run()[1] == 1 and _run()[1] == 0
  assert _run()[1] == 0


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
  files = programs._files()
  package = ROOT / 'meta_analog'
  assert {*package.glob('*.py'), *package.glob('*/*.py'),
          package / 'recorded.json', pathlib.Path(__file__)} <= files
  assert not any('site-packages' in str(path) for path in files)


@pytest.mark.parametrize('why', ('young', 'gone', 'typed in'))
def test_nothing_is_kept_or_taken_where_sources_may_not_be_what_runs(
    why, source, folder, monkeypatch):
  _run()
  kept = {path: path.read_bytes() for path in folder.iterdir()}
  if why == 'young':
    monkeypatch.setattr(programs, 'BEGAN_S', source.stat().st_mtime - 1.0)
  elif why == 'gone':
    source.unlink()
  else:
    monkeypatch.delattr(sys.modules['__main__'], '__file__')
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


def test_an_error_of_the_program_is_raised_as_it_is():
  with pytest.raises(TypeError, match='reshape'):
    _run(body=lambda x: x.reshape(2, 2))


def test_a_damaged_program_is_traced_again(folder):
  _run()
  path, = folder.iterdir()
  whole = path.read_bytes()
  path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
  assert _run()[1] == 1 and _run()[1] == 0


# Two steps and the test of a net, by programs kept in argv[1], '' for none.
CHILD = '''
import hashlib, json, math, sys
from meta_analog import compilation, environment, programs
compilation.keep(sys.argv[1], print)
environment.use_all_cores()
programs.BEGAN_S = math.inf
import jax, numpy as np
from configs import pcm
from meta_analog import assembly, evaluation, training

traced = []
for module, name in ((training, 'make_uncompiled'), (evaluation, 'make_test')):
  def counted(*args, name=name, fn=getattr(module, name)):
    traced.append(name)
    return fn(*args)
  setattr(module, name, counted)
config = pcm.get_config('tiny')
setup = assembly.build(config)
trainer = training.make(config, setup)
traced.clear()
key = jax.random.key(0)
state = jax.jit(trainer.init)(key)
step = training.lower(config, trainer, state, key).compile()
out = []
for _ in range(2):
  state, info = step(state, key, **trainer.update.keywords)
  out.append((state, info))
test = evaluation.compile_test(config, setup, state.params, key, keep=True)
out.append(evaluation.run(config, setup, state.params, key, test))
digest = hashlib.sha256()
for leaf in jax.tree.leaves(out):
  digest.update(np.asarray(leaf).tobytes())
print(json.dumps([traced, digest.hexdigest()]))
'''


@pytest.mark.slow
def test_steps_and_test_of_a_net_are_the_same_bits_kept_or_not(tmp_path):
  script = tmp_path / 'child.py'
  script.write_text(CHILD)

  def child(folder):
    done = subprocess.run(
        [sys.executable, script, folder], check=True, capture_output=True,
        text=True, env=os.environ | {'PYTHONPATH': str(ROOT)})
    return json.loads(done.stdout)

  plain = child('')
  assert plain[0] == ['make_uncompiled', 'make_test']
  folder = str(tmp_path / 'programs')
  assert child(folder) == plain
  assert child(folder) == [[], plain[1]]
