"""The console command: help, refusals, and the scripts in launch/ over it."""

import os
import re
import subprocess
import sys

from absl import flags
import pytest

from meta_analog import cli
from meta_analog.core import errors
from meta_analog.experiment import command_line
from meta_analog.experiment import run
from meta_analog.runtime import compilation
from meta_analog.runtime import environment
from tests.helpers import runs

SCRIPTS = ('main', 'characterize', 'study', 'benchmark')  # in launch/


def parse(*argv, define=lambda values: command_line.define_run(
    values, run.MODES, 'train')):
  values = flags.FlagValues()
  command_line.define(values)
  define(values)
  return command_line.parse(argv, values)


def result(*argv, cwd=None, **environment):
  """Returns (exit code, stdout, stderr) of the console command."""
  done = subprocess.run(
      [sys.executable, '-m', 'meta_analog.cli', *argv], cwd=cwd, text=True,
      capture_output=True, check=False,
      env=os.environ | {'PYTHONPATH': str(runs.ROOT)} | environment)
  return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ended(monkeypatch, capsys):
  """`argv -> (exit code, stdout, stderr)` in this process."""
  def leave(code, message=''):
    print(message, file=sys.stderr)
    raise SystemExit(code)

  monkeypatch.setattr(command_line.signals, 'exit_process', leave)
  # Other tests of this process may have started jax, which is then as it is.
  monkeypatch.setattr(environment, 'use_all_cores', lambda: None)

  def call(*argv):
    with pytest.raises(SystemExit) as found:
      cli.main(argv)
    return (found.value.code, *capsys.readouterr())

  return call


def test_help_lists_the_commands(ended):
  code, text, _ = ended('--help')
  assert code == 0
  for name in ('train', 'evaluate', 'characterize', 'study', 'benchmark'):
    assert f'\n  {name} ' in text
  assert ended()[0] == 2


def test_help_names_what_a_flag_takes(ended, monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  _, text, _ = ended('study', '--help')
  for flag in ('--seeds=N,N,...', '--scheduler=HOST:PORT', '--processes=N'):
    assert f'  {flag}\n' in text
  assert not re.search(r'by default *$', text, re.M)


@pytest.mark.parametrize('argv', [
    ('--help',), ('--version',), ('train', '--help')])
def test_help_whose_reader_has_left_is_no_error(ended, argv, monkeypatch):
  read, write = os.pipe()
  os.close(read)
  with os.fdopen(write, 'w', buffering=1) as pipe:
    monkeypatch.setattr(sys, 'stdout', pipe)
    assert ended(*argv)[0] == 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), write)  # for what is left


@pytest.mark.parametrize('name', sorted(cli.COMMANDS))
def test_help_of_a_command_shows_our_flags_alone(ended, name, monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')
  code, text, _ = ended(name, '--help')
  assert code == 0 and '--config=FILE' in text and '--workdir=FOLDER' in text
  assert f'meta-analog {name} ' in text
  assert max(map(len, text.splitlines())) <= 80
  assert len(text.splitlines()) < 45
  for other in ('only_check_args', 'jax_', 'verbosity', 'pdb', 'chex'):
    assert f'--{other}' not in text


def test_a_misspelt_command_is_refused_with_the_nearest(ended):
  assert ended('trian') == (
      2, '', "error: there is no command 'trian': did you mean train?\n")


@pytest.mark.parametrize('argv,expected', [
    (['--only_check_args'], 'config'),
    (['--config=pcm:tiny', '--only_check_args'], 'only_check_args'),
    (['--config=pmc'], 'did you mean pcm?'),
    (['--config=pcm:tiny', '--workdr=x'], 'Did you mean: workdir'),
    (['--config=pcm:tiny', 'more'], "unexpected argument 'more'"),
    (['--config=pcm:tiny', '--mode=tain'], 'mode'),
    (['--mode=evaluate'], '--mode=evaluate needs --workdir'),
    (['--mode=evaluate', '--workdir=/nonexistent'], 'holds no run'),
    (['--mode=evaluate', '--source=/nonexistent', '--workdir=x'],
     'holds no run'),
    (['--mode=evaluate', '--source=a.npz', '--workdir=x'], 'needs --config'),
    (['--mode=evaluate', '--source=a.npz', '--checkpoint=a.npz',
      '--config=pcm'], 'another name of --source'),
    (['--source=initial', '--config=pcm'], '--source=initial: takes'),
    (['--checkpoint=a.npz', '--config=pcm'], '--checkpoint=a.npz: takes'),
    (['--mode=evaluate', '--checkpoint=run', '--config=pcm'],
     '--checkpoint=run: takes a .npz'),
])
def test_what_cannot_be_is_refused_in_a_line(ended, argv, expected):
  code, _, stderr = ended('train', *argv)
  assert code == 2 and stderr.startswith('error: ')
  assert len(stderr.splitlines()) == 1 and expected in stderr


def test_evaluate_is_its_commands_default_mode(ended):
  assert '--mode=evaluate needs --workdir' in ended('evaluate')[2]


@pytest.mark.parametrize('config', [(), ('--config=pcm:tiny',)])
def test_the_command_that_evaluates_does_not_train(ended, config):
  code, _, message = ended('evaluate', '--mode=train', *config)
  assert code == 2
  assert '--mode=train' in message
  assert 'one of' in message


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
  monkeypatch.setenv('HOME', str(tmp_path))
  arguments = parse('--config=pcm:tiny', '--workdir=~/x', '--mode=evaluate',
                    '--checkpoint=~/y.npz')
  assert arguments.workdir == str(tmp_path / 'x')
  assert arguments.flags.checkpoint == str(tmp_path / 'y.npz')


@pytest.mark.parametrize('arguments', [
    ('--config=pcm', '--workdir=~no-such-user/x'),
    ('--config=pcm', '--cache_dir=~no-such-user/x'),
    ('--mode=evaluate', '--workdir=~no-such-user/x'),
    ('--mode=evaluate', '--source=~no-such-user/x', '--workdir=y'),
    ('--config=~no-such-user/x.py',)])
def test_a_home_that_is_not_there_is_refused_in_a_line(arguments):
  with pytest.raises(errors.InputError, match='~no-such-user/x') as found:
    parse(*arguments)
  assert '\n' not in str(found.value)


@pytest.mark.parametrize('command', sorted(cli.COMMANDS))
def test_jax_is_set_up_before_a_config_file_may_use_it(monkeypatch, command):
  # Later jax refuses another number of devices, or has its options already.
  order = []
  for owner, name in ((compilation, 'tune'), (environment, 'stay_in_float32'),
                      (environment, 'use_all_cores'), (command_line, 'start')):
    monkeypatch.setattr(
        owner, name, lambda *_, name=name, **__: order.append(name))
  cli.main([command, '--config=own.py'])
  cores = ['use_all_cores'] * cli.COMMANDS[command].all_cores
  assert order == ['tune', 'stay_in_float32', *cores, 'start']


def test_the_default_folder_is_named_like_the_config():
  assert parse('--config=pcm:delta,tiny').workdir == 'runs/pcm_delta_tiny'
  assert parse('--config=configs/perf.py').workdir == 'runs/perf'
  for flag in ('--checkpoint', '--source'):
    found = parse('--config=pcm', '--mode=evaluate', f'{flag}=a/b.npz')
    assert found.workdir == 'runs/pcm_test_of_b'


def test_the_record_says_what_was_changed():
  assert parse('--config=pcm:tiny', '--config.seed=4').record == {
      'file': 'pcm:tiny', 'seed': '4'}


def test_what_a_run_is_asked_for_comes_from_its_own_config(tmp_path):
  config = parse('--config=pcm:tiny', '--config.seed=4').config
  (tmp_path / 'config.json').write_text(config.to_json_best_effort())
  found = parse('--mode=evaluate', f'--workdir={tmp_path}', '--config.seed=5')
  assert found.config.seed == 5 and found.config.network.hidden_sizes == (8, 8)
  assert found.file == f'{tmp_path}/config.json'
  source = parse('--mode=evaluate', f'--source={tmp_path}', '--workdir=other')
  assert source.config.seed == 4 and source.workdir == 'other'
  named = parse('--mode=evaluate', f'--workdir={tmp_path}', '--config=perf')
  assert named.config.name == 'perf'


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_in_launch_are_thin(script):
  lines = (runs.ROOT / 'launch' / f'{script}.py').read_text().splitlines()
  assert len(lines) < 20 and any('cli.main(' in line for line in lines)


@pytest.mark.slow
def test_from_another_folder_it_refuses_before_it_trains(tmp_path):
  own = tmp_path / 'own.py'
  own.write_text('import jax.numpy as jnp\nx = jnp.ones(3)\n'
                 'def get_config(argument=""):\n  raise BaseException("no")\n')
  code, stdout, stderr = result('train', '--config=own.py', cwd=tmp_path)
  assert (code, stdout, stderr) == (
      2, '', 'error: --config=own.py: BaseException: no\n')
  assert list(tmp_path.iterdir()) == [own] or (
      {path.name for path in tmp_path.iterdir()} == {'own.py', '__pycache__'})


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_refused_in_a_line(tmp_path):
  for platform in ('cuda', 'foo'):
    code, _, stderr = result(
        'characterize', '--config=pcm:tiny', '--cache_dir=', cwd=tmp_path,
        JAX_PLATFORMS=platform)
    assert code == 2 and stderr.count('\n') == 1
    assert stderr.startswith(f'error: JAX_PLATFORMS={platform}: ')


@pytest.mark.slow
def test_a_study_is_not_characterized(tmp_path):
  code, _, stderr = result(
      'characterize', '--config=studies/sinusoid', '--cache_dir=',
      cwd=tmp_path)
  assert code == 2 and stderr.count('\n') == 1
