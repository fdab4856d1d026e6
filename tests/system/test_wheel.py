"""A wheel, built without network, works away from the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import meta_analog

ROOT = pathlib.Path(__file__).parents[2]
PARTS = ('meta_analog', 'configs', 'launch')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE',
         'CHANGELOG.md', 'CITATION.cff')
SMALL = ('--config=pcm:tiny', '--config.network.hidden_sizes=(4,)',
         '--config.training.num_steps=2', '--config.evaluation.num_tasks=4',
         '--config.evaluation.num_chips=2',
         '--config.evaluation.ordinary_steps=2', '--cache_dir=')
pytestmark = pytest.mark.slow


def pip(*arguments):
  done = subprocess.run(
      [sys.executable, '-m', 'pip', '--isolated', '--quiet',
       '--disable-pip-version-check', *arguments, '--no-deps', '--no-index'],
      text=True, capture_output=True, check=False)
  assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """Returns a wheel of a copy of this checkout, which stays as it is."""
  folder = tmp_path_factory.mktemp('wheel')
  for name in PARTS:
    shutil.copytree(ROOT / name, folder / 'source' / name,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for name in FILES:
    shutil.copy(ROOT / name, folder / 'source')
  pip('wheel', '--no-build-isolation', f'--wheel-dir={folder}',
      str(folder / 'source'))
  return next(folder.glob('*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
  """Returns the folder that the wheel is installed into."""
  target = tmp_path_factory.mktemp('target')
  pip('install', f'--target={target}', str(wheel))
  return target


@pytest.fixture
def run(installed, tmp_path):
  """`words -> CompletedProcess` of Python, elsewhere, with what is installed.

  Python's -I -S leaves out the current folder and whatever is installed in
  editable mode.
  """
  libraries = [path for path in sys.path if path.endswith('-packages')]
  start = ('import sys; sys.path += ' + repr([str(installed), *libraries])
           + '; ')

  def call(code):
    done = subprocess.run(
        [sys.executable, '-I', '-S', '-c', start + code], cwd=tmp_path,
        text=True, capture_output=True, check=False,
        env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
    assert done.returncode == 0, done.stderr
    return done.stdout

  return call


def test_it_holds_one_package_with_configs_and_parameters(wheel):
  names = zipfile.ZipFile(wheel).namelist()
  assert {name.split('/')[0] for name in names} == {
      'meta_analog', f'meta_analog-{meta_analog.__version__}.dist-info'}
  ours = {path.relative_to(ROOT).as_posix()
          for pattern in ('configs/**/*.py', 'configs/pretrained/*.npz')
          for path in ROOT.glob(pattern)}
  assert len(ours) >= 12
  assert {f'meta_analog/{name}' for name in ours} <= {*names}
  source = {path.relative_to(ROOT).as_posix()
            for path in (ROOT / 'meta_analog').glob('**/*.py')}
  assert source | {'meta_analog/py.typed'} <= {*names}


def test_its_metadata_name_the_command_and_the_licence(wheel):
  with zipfile.ZipFile(wheel) as file:
    read = lambda name: file.read(next(
        path for path in file.namelist() if path.endswith(name))).decode()
    assert 'meta-analog = meta_analog.cli:main' in read('entry_points.txt')
    metadata = read('METADATA')
  assert f'\nVersion: {meta_analog.__version__}\n' in metadata
  assert '\nRequires-Python: >=3.11\n' in metadata
  for extra in ('cluster', 'docs', 'peers', 'test', 'tracking', 'wandb'):
    assert f'\nProvides-Extra: {extra}\n' in metadata


def test_it_is_found_where_it_was_installed(run, installed):
  out = run('import meta_analog; print(meta_analog.__file__); '
            'from meta_analog.configs import pcm; print(pcm.__file__); '
            'import importlib.util as u; print(u.find_spec("configs"))')
  assert out.splitlines() == [
      f'{installed}/meta_analog/__init__.py',
      f'{installed}/meta_analog/configs/pcm.py', 'None']


def test_it_finds_configs_and_pretrained_parameters(run, installed):
  out = run('from meta_analog.config import build_task, config_files; '
            'print(config_files.find("configs/pcm.py")[0]); '
            'print(build_task.located("configs/pretrained/omniglot.npz"))')
  assert out.splitlines() == [
      f'{installed}/meta_analog/configs/pcm.py',
      f'{installed}/meta_analog/configs/pretrained/omniglot.npz']


def test_the_commit_of_another_repository_is_not_its_own(run, installed):
  git = lambda *words: subprocess.run(
      ['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c', *words],
      cwd=installed, capture_output=True, check=True)
  git('init')
  git('commit', '--allow-empty', '--message=a')
  out = run('from meta_analog.runtime import environment as e; '
            'print(e.record()["commit"])')
  assert out == 'None\n'


def test_it_trains_by_the_name_of_a_config(run, tmp_path):
  run(f'from meta_analog import cli; cli.main(["train", *{SMALL}])')
  assert (tmp_path / 'runs/pcm_tiny/summary.json').is_file()
  assert (tmp_path / 'runs/pcm_tiny/parameters.npz').is_file()
