"""The folder of compiled programs: damage, other processes, no room, no right.

Every program runs in a process of its own, as a person's would.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from meta_analog.runtime import compilation

ROOT = pathlib.Path(__file__).parents[2]
# Compiles two programs, and says what they return and what jax had to compile.
PROGRAM = '''
import json, sys
import jax, jax.numpy as jnp
from jax import monitoring
from meta_analog.runtime import compilation

hits = []
monitoring.register_event_listener(lambda name, **_: hits.append(name))
warnings = []
folder = json.loads(sys.argv[1])
compilation.keep(folder, warnings.append)
x = jnp.linspace(0.0, 1.0, 12).reshape(3, 4)
a = jax.jit(lambda x: jnp.tanh(x) @ x.T)(x)
b = jax.jit(lambda x: jnp.cumsum(jnp.sin(x) / 3.0))(x)
count = lambda what: sum(name.endswith(what) for name in hits)
print(json.dumps({
    'numbers': [v.hex() for y in (a, b) for v in y.ravel().tolist()],
    'warnings': warnings, 'hits': count('/cache_hits'),
    'misses': count('/cache_misses')}))
'''


def _start(folder, **environment):
  clean = {name: value for name, value in os.environ.items()
           if not name.startswith(('JAX_COMPILATION', 'JAX_PERSISTENT'))}
  return subprocess.Popen(
      [sys.executable, '-c', PROGRAM, json.dumps(folder)],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=clean | {'PYTHONPATH': str(ROOT)} | environment)


def _end(process):
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 0 and not stderr, stderr
  return json.loads(stdout)


def _run(folder, **environment):
  return _end(_start(str(folder) if folder else folder, **environment))


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
  """A folder, what the first process said, and the entries it left."""
  folder = tmp_path_factory.mktemp('kept') / 'new' / 'xla'
  cold = _run(folder)
  return folder, cold, {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_second_process_compiles_nothing_and_gets_the_same_bits(kept):
  folder, cold, _ = kept
  warm = _run(folder)
  assert cold['hits'] == 0 and cold['misses'] >= 2
  assert warm['hits'] == cold['misses'] and warm['misses'] == 0
  assert warm['numbers'] == cold['numbers'] and not warm['warnings']
  assert folder.stat().st_mode & 0o077 == 0  # trusted: nobody else writes


DAMAGES = (
    lambda data: data[:len(data) // 2],
    lambda data: b'',
    lambda data: data + bytes(1),
    lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    lambda data: data[:-9] + bytes([data[-9] ^ 64]) + data[-8:],
    lambda data: bytes([data[0] ^ 1]) + data[1:])


def test_damaged_entries_are_compiled_again_and_replaced(kept):
  folder, cold, entries = kept
  assert len(entries) >= len(DAMAGES)  # so each is done to one at least
  for i, (name, data) in enumerate(entries.items()):
    (folder / name).write_bytes(DAMAGES[i % len(DAMAGES)](data))
  again = _run(folder)
  assert again['numbers'] == cold['numbers'] and not again['warnings']
  assert again['hits'] == 0 and again['misses'] == cold['misses']
  assert {p.name for p in folder.iterdir()} == set(entries)
  assert _run(folder)['misses'] == 0


def test_an_entry_under_the_name_of_another_is_not_taken(kept):
  folder, cold, entries = kept
  first, second = sorted(entries)[:2]
  (folder / first).write_bytes(entries[second])
  (folder / second).write_bytes(entries[first])
  again = _run(folder)
  assert again['numbers'] == cold['numbers'] and again['misses'] == 2


def test_processes_at_once_leave_whole_entries(tmp_path):
  folder = tmp_path / 'xla'
  runs = [_end(process) for process in [_start(str(folder)) for _ in range(2)]]
  assert runs[0]['numbers'] == runs[1]['numbers']
  assert not any(run['warnings'] for run in runs)
  assert _run(folder)['misses'] == 0


def test_what_a_killed_process_half_wrote_is_never_read(tmp_path):
  folder = tmp_path / 'xla'
  process = _start(str(folder))
  while process.poll() is None and not (
      folder.is_dir() and list(folder.iterdir())):
    pass
  process.kill()
  process.communicate()
  after = _run(folder)
  assert not after['warnings'] and _run(folder)['misses'] == 0


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path):
  (tmp_path / 'file').write_text('')
  run = _run(tmp_path / 'file' / 'xla')
  assert len(run['warnings']) == 1 and run['hits'] == run['misses'] == 0
  assert '--cache_dir' in run['warnings'][0]
  assert len(run['warnings'][0].splitlines()) == 1


def test_a_full_disk_is_one_warning(tmp_path):
  entry = compilation.Entry(tmp_path / 'gone' / 'xla')
  said = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(compilation.Entry, 'say', staticmethod(said.append))
    for name in 'ab':
      (entry / name).write_bytes(b'program')
      assert not (entry / name).exists()
  assert len(said) == 1 and '--cache_dir' in said[0]


def test_an_empty_name_keeps_nothing(tmp_path):
  run = _run('', XDG_CACHE_HOME=str(tmp_path))
  assert run['hits'] == run['misses'] == 0 and not list(tmp_path.iterdir())


def test_by_default_programs_are_kept_among_a_persons_caches(tmp_path):
  run = _run(None, XDG_CACHE_HOME=str(tmp_path))
  entries = list((tmp_path / 'meta_analog' / 'xla').iterdir())
  assert len(entries) == run['misses'] > 0


def test_the_variable_of_jax_comes_before_the_default(tmp_path):
  run = _run(None, XDG_CACHE_HOME=str(tmp_path / 'xdg'),
             JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'jax'),
             JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0')
  assert run['misses'] and list((tmp_path / 'jax').iterdir())
  assert not (tmp_path / 'xdg').exists()


def test_another_number_of_cores_compiles_for_itself(kept):
  folder, _, _ = kept
  assert _run(folder, NPROC='1')['hits'] == 0


def test_the_least_recently_used_entries_go(tmp_path):
  for age, name in enumerate('abcd'):
    (tmp_path / name).write_bytes(bytes(100))
    os.utime(tmp_path / name, (1000 - age, 1000 - age))
  compilation.trim(tmp_path, 250)
  assert {p.name for p in tmp_path.iterdir()} == {'a', 'b'}
  compilation.trim(tmp_path, 200)
  assert {p.name for p in tmp_path.iterdir()} == {'a', 'b'}


def test_a_home_that_is_not_there_is_one_warning():
  run = _run('~no-such-user/xla')
  assert len(run['warnings']) == 1 and run['hits'] == run['misses'] == 0


@pytest.mark.parametrize('name, enabled, kept', (
    (f'{compilation.SCHEME}/here', True, True), ('/of/jax', True, False),
    (None, True, False), (f'{compilation.SCHEME}/here', False, False)))
def test_the_folder_is_ours_or_none(name, enabled, kept):
  changes = {'jax_compilation_cache_dir': name,
             'jax_enable_compilation_cache': enabled}
  before = {field: getattr(jax.config, field) for field in changes}
  try:
    for field, value in changes.items():
      jax.config.update(field, value)
    folder = compilation.folder()
    assert (folder and str(folder)) == (name if kept else None)
  finally:
    for field, value in before.items():
      jax.config.update(field, value)


@pytest.mark.parametrize('said, wanted', (
    ('', compilation.EXTRA_OPTIONS),
    ('--xla_dump_to=x', f'--xla_dump_to=x {compilation.EXTRA_OPTIONS}'),
    ('flags.txt', 'flags.txt'),
    ('--xla_backend_extra_options=mine', '--xla_backend_extra_options=mine')))
def test_options_of_xla_join_those_of_the_user(monkeypatch, said, wanted):
  monkeypatch.setenv('XLA_FLAGS', said)
  for _ in range(2):
    compilation.tune()
    assert os.environ['XLA_FLAGS'] == wanted


@pytest.mark.slow
def test_what_users_compile_equals_the_textbook():
  # With the options of a launch, which other tests have no time for.
  program = """
from meta_analog.runtime import compilation
compilation.tune()
import hypothesis
hypothesis.settings.register_profile(
    'child', deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile('child')
import test_textbook as t
step_by_step, in_rounds = (
    case for case in t.CASES if case[3].get('periphery') == t.REAL
    and case[3].get('sizes') == t.small.SIZES)
for case in (step_by_step, in_rounds):
  t.test_loss_and_meta_gradient_are_those_of_the_textbook(case)
"""
  clean = {name: value for name, value in os.environ.items()
           if name != 'XLA_FLAGS'}
  tests = ROOT / 'tests'
  subprocess.run([sys.executable, '-c', program], check=True, cwd=tests,
                 env=clean | {'PYTHONPATH': f'{ROOT}{os.pathsep}{tests}'})
