"""The persistent cache of compiled programs: damage, processes, full disks.

Every program runs in a process of its own, as a person's would.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
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
compilation.set_up(folder, warnings.append)
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
  return subprocess.Popen(
      [sys.executable, '-c', PROGRAM, json.dumps(folder)],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=_clean() | environment)


def _clean():
  """Returns the environment without what it says of a cache."""
  return {name: value for name, value in os.environ.items()
          if not name.startswith(('JAX_COMPILATION', 'JAX_PERSISTENT'))} | {
              'PYTHONPATH': str(ROOT)}


def _end(process):
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 0 and not stderr, stderr
  return json.loads(stdout)


def _run(folder, **environment):
  return _end(_start(str(folder) if folder else folder, **environment))


def _entries(folder):
  """Returns {name: content} of the cached programs."""
  return {path.name: path.read_bytes() for path in folder.glob('*/*-cache')}


@pytest.fixture(scope='module')
def cached(tmp_path_factory):
  """A folder, and what the first process printed."""
  folder = tmp_path_factory.mktemp('cached') / 'new' / 'xla'
  return folder, _run(folder)


def test_a_second_process_compiles_nothing_and_gets_the_same_bits(cached):
  folder, cold = cached
  warm = _run(folder)
  assert cold['hits'] == 0 and cold['misses'] >= 2
  assert warm['hits'] == cold['misses'] and warm['misses'] == 0
  assert warm['numbers'] == cold['numbers'] and not warm['warnings']
  machine, = folder.iterdir()
  assert machine.name == compilation.machine()
  assert machine.stat().st_mode & 0o077 == 0  # trusted: nobody else writes


def test_damaged_entries_are_noticed_and_compiled_anew(cached, tmp_path):
  folder, cold = cached
  other = tmp_path / 'xla'
  shutil.copytree(folder, other)
  for i, path in enumerate(sorted(other.glob('*/*-cache'))):
    data = bytearray(path.read_bytes())
    data[len(data) // (2 + i)] ^= 1 << i % 8
    path.write_bytes(data)
  process = _start(str(other))
  stdout, stderr = process.communicate(timeout=300)
  assert process.returncode == 0
  again = json.loads(stdout)
  assert again['numbers'] == cold['numbers'] and again['hits'] == 0
  assert 'Error reading persistent compilation cache entry' in stderr


def test_processes_at_once_leave_whole_entries(tmp_path):
  folder = tmp_path / 'xla'
  runs = [_end(process) for process in [_start(str(folder)) for _ in range(2)]]
  assert runs[0]['numbers'] == runs[1]['numbers']
  assert not any(run['warnings'] for run in runs)
  assert _run(folder)['misses'] == 0


def test_what_a_killed_process_half_wrote_is_never_read(cached, tmp_path):
  folder, cold = cached
  other = tmp_path / 'xla'
  shutil.copytree(folder, other)
  path = sorted(other.glob('*/*-cache'))[0]
  path.write_bytes(path.read_bytes()[:-9])
  path.with_name(f'{path.name[:-5]}atime').unlink()
  after = _run(other)
  assert after['misses'] == 1 and after['numbers'] == cold['numbers']
  assert _entries(other).keys() == _entries(folder).keys()
  assert _run(other)['misses'] == 0


def test_the_cache_has_a_limit(tmp_path):
  limit = 9000
  _run(tmp_path, JAX_COMPILATION_CACHE_MAX_SIZE=str(limit))
  entries = _entries(tmp_path)
  assert entries and sum(map(len, entries.values())) <= limit
  _run(tmp_path)
  assert sum(map(len, _entries(tmp_path).values())) > limit


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path):
  (tmp_path / 'file').write_text('')
  run = _run(tmp_path / 'file' / 'xla')
  assert len(run['warnings']) == 1 and run['hits'] == run['misses'] == 0
  assert '--cache_dir' in run['warnings'][0]
  assert len(run['warnings'][0].splitlines()) == 1


def test_nothing_is_cached_where_jax_would_not_notice_damage(tmp_path):
  (tmp_path / 'zstandard.py').write_text('')
  run = _run(tmp_path / 'xla',
             PYTHONPATH=f'{ROOT}{os.pathsep}{tmp_path}')
  assert 'zstandard' in run['warnings'][0] and run['misses'] == 0


# A device of a user's own, whose conductances lie in a file.
TABLE = '''
import pathlib, sys
import jax, jax.numpy as jnp, numpy as np
from meta_analog.runtime import compilation
compilation.set_up(sys.argv[1], print)
table = np.load(pathlib.Path(sys.argv[1], 'table.npy'))
read = jax.jit(lambda level: jnp.interp(level, jnp.arange(3.0), table))
print(float(read(0.5)))
'''


def test_a_table_that_changed_on_disk_gives_new_numbers(tmp_path):
  numbers = []
  for last in (1.0, 3.0, 1.0):
    np.save(tmp_path / 'table.npy', np.float32([0.0, last, 5.0]))
    numbers.append(float(subprocess.run(
        [sys.executable, '-c', TABLE, tmp_path], check=True, text=True,
        capture_output=True, env=_clean()).stdout))
  assert numbers == [0.5, 1.5, 0.5]


def test_an_empty_name_caches_nothing(tmp_path):
  run = _run('', XDG_CACHE_HOME=str(tmp_path))
  assert run['hits'] == run['misses'] == 0 and not list(tmp_path.iterdir())


def test_by_default_programs_are_cached_where_a_persons_caches_are(tmp_path):
  run = _run(None, XDG_CACHE_HOME=str(tmp_path))
  entries = _entries(tmp_path / 'meta_analog' / 'xla')
  assert len(entries) == run['misses'] > 0


def test_the_variable_of_jax_comes_before_the_default(tmp_path):
  run = _run(None, XDG_CACHE_HOME=str(tmp_path / 'xdg'),
             JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'jax'),
             JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0')
  assert run['misses'] and list((tmp_path / 'jax').iterdir())
  assert not (tmp_path / 'xdg').exists()


def test_another_number_of_cores_compiles_for_itself(cached):
  folder, _ = cached
  assert _run(folder, NPROC='1')['hits'] == 0


@pytest.mark.parametrize('folder, word', [
    ('~no-such-user/xla', 'home'), (None, 'home'),
    ('/x[l]a', 'a pattern'), ('/x*', 'a pattern'), ('/x?', 'a pattern')])
def test_a_folder_that_is_none_to_jax_is_one_warning(
    monkeypatch, folder, word):
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setattr(os.path, 'expanduser', lambda path: path)  # no HOME
  before, logged = jax.config.jax_compilation_cache_dir, []
  try:
    compilation.set_up(folder, logged.append)
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
  assert len(logged) == 1 and word in logged[0] and '\n' not in logged[0]


@pytest.mark.parametrize('given, expected', (
    ('', compilation.EXTRA_OPTIONS),
    ('--xla_dump_to=x', f'--xla_dump_to=x {compilation.EXTRA_OPTIONS}'),
    ('flags.txt', 'flags.txt'),
    ('--xla_backend_extra_options=mine', '--xla_backend_extra_options=mine')))
def test_options_of_xla_join_those_of_the_user(monkeypatch, given, expected):
  monkeypatch.setenv('XLA_FLAGS', given)
  for _ in range(2):
    compilation.tune()
    assert os.environ['XLA_FLAGS'] == expected


@pytest.mark.slow
def test_what_users_compile_equals_the_reference():
  # With the options of a launch, which other tests have no time for.
  program = """
from meta_analog.runtime import compilation
compilation.tune()
import hypothesis
hypothesis.settings.register_profile(
    'child', deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile('child')
from tests.learning import test_reference_learner as t
step_by_step, in_rounds = (
    case for case in t.CASES if case[3].get('periphery') == t.REAL
    and case[3].get('sizes') == t.small.SIZES)
for case in (step_by_step, in_rounds):
  t.test_loss_and_meta_gradient_equal_the_reference(case)
"""
  clean = {name: value for name, value in os.environ.items()
           if name != 'XLA_FLAGS'}
  subprocess.run([sys.executable, '-c', program], check=True,
                 env=clean | {'PYTHONPATH': str(ROOT)})
