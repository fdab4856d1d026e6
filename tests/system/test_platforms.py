"""A run on terminals, users and systems that are unlike the developer's."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import runs

pytestmark = pytest.mark.slow
SHORT = (*runs.SMALL, '--config.training.num_steps=2',
         '--config.evaluation.num_tasks=4', '--config.evaluation.num_chips=2')
FILES = {'config.json', 'summary.json', 'parameters.npz', 'evaluation.npz',
         'chip.npz', 'metrics.jsonl', 'checkpoints', 'figures'}
# Before the program: a user without a home, and a system without what Linux
# alone has.
NO_HOME = '''
import os, pwd
for name in ('HOME', 'XDG_CACHE_HOME', 'MPLCONFIGDIR'):
  os.environ.pop(name, None)
def nobody(uid):
  raise KeyError(f'getpwuid(): uid not found: {uid}')
pwd.getpwuid = nobody
'''
NOT_LINUX = '''
import os, select, signal, socket, sys
for name in ('sched_getaffinity', 'sched_setaffinity', 'posix_fallocate',
             'posix_fadvise', 'memfd_create', 'pidfd_open', 'fdatasync',
             'copy_file_range', 'eventfd', 'O_TMPFILE', 'getrandom'):
  if hasattr(os, name):
    delattr(os, name)
for module, name in ((signal, 'SIGPWR'), (signal, 'SIGSTKFLT'),
                     (select, 'epoll'), (socket, 'SOCK_CLOEXEC')):
  if hasattr(module, name):
    delattr(module, name)
'''
PROGRAM = '''
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv = [{main!r}, *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('xla')


def _command(before, workdir, *arguments):
  """Returns the command of a short run after some lines of Python."""
  program = before + PROGRAM.format(
      root=str(runs.ROOT), main=str(runs.ROOT / 'launch/main.py'))
  return [sys.executable, '-c', program, *SHORT, '--workdir', str(workdir),
          *arguments]


def _is_whole(workdir):
  """Whether a run left all its files."""
  json.loads((workdir / 'summary.json').read_text())
  return {path.name for path in workdir.iterdir()} >= FILES


@pytest.mark.parametrize('variables', [
    {'PYTHONIOENCODING': 'ascii'},
    {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}])
def test_a_terminal_that_knows_only_ascii_gets_it(cache, tmp_path, variables):
  result = subprocess.run(
      _command('', tmp_path / 'run', f'--cache_dir={cache}'), check=False,
      capture_output=True, env=os.environ | variables)
  assert result.returncode == 0 and result.stderr == b'', result.stderr
  assert result.stdout.isascii() and b'summary.json' in result.stdout
  assert _is_whole(tmp_path / 'run')


def test_without_a_home_a_run_warns_once_and_caches_nothing(tmp_path):
  result = subprocess.run(
      _command(NO_HOME, tmp_path / 'run'), check=False, text=True,
      capture_output=True, cwd=tmp_path,
      env={name: value for name, value in os.environ.items()
           if not name.startswith('JAX_')})
  assert result.returncode == 0, result.stderr
  warnings = [line for line in (result.stdout + result.stderr).splitlines()
              if 'arning' in line]
  assert len(warnings) == 1 and 'not cached' in warnings[0], warnings
  assert result.stderr.count('\n') <= 1 and _is_whole(tmp_path / 'run')
  assert {path.name for path in tmp_path.iterdir()} == {'run'}


def test_a_reader_that_leaves_costs_no_result(cache, tmp_path):
  command = _command('', tmp_path / 'run', f'--cache_dir={cache}')
  result = subprocess.run(
      ['bash', '-c', 'set -o pipefail; "$@" | head -1', 'bash', *command],
      check=False, text=True, capture_output=True)
  assert result.returncode == 0 and result.stderr == '', result.stderr
  assert result.stdout.count('\n') == 1 and 'device pcm' in result.stdout
  assert _is_whole(tmp_path / 'run')


@pytest.mark.parametrize('closed', ['>&-', '2>&-', '<&- >&- 2>&-'])
def test_closed_streams_cost_no_result(cache, tmp_path, closed):
  command = _command('', tmp_path / 'run', f'--cache_dir={cache}')
  result = subprocess.run(
      ['sh', '-c', f'"$@" {closed}', 'sh', *command], check=False,
      capture_output=True)
  assert result.returncode == 0 and result.stderr == b''
  assert _is_whole(tmp_path / 'run')
  assert (result.stdout == b'') == (closed != '2>&-')


def test_a_system_without_what_linux_alone_has_takes_a_run(cache, tmp_path):
  result = subprocess.run(
      _command(NOT_LINUX, tmp_path / 'run', f'--cache_dir={cache}'),
      check=False, text=True, capture_output=True)
  assert result.returncode == 0 and result.stderr == '', result.stderr
  assert _is_whole(tmp_path / 'run')


def test_a_path_is_no_markup(cache, tmp_path):
  workdir = tmp_path / 'mk[lr=0.1] :smile: [bold]x[/bold]' / 'y[/x]'
  result = subprocess.run(
      _command('', workdir, f'--cache_dir={cache}'), check=False, text=True,
      capture_output=True)
  assert result.returncode == 0 and result.stderr == ''
  assert f', into {workdir}\n' in result.stdout
  assert f'Written to {workdir}: ' in result.stdout
  assert _is_whole(workdir)
