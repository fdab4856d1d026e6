"""Config files are found from anywhere, and refused in a line."""

import pathlib
import sys

import pytest

from configs import pcm
from meta_analog.config import build_task
from meta_analog.config import config_files
from meta_analog.core import errors

ROOT = pathlib.Path(__file__).parents[2]
OWN = ROOT / 'configs/pcm.py'


def refusal(*arguments):
  """Returns the line that refuses a command line."""
  with pytest.raises(errors.InputError) as found:
    config_files.parse(arguments)
  message = str(found.value)
  assert '\n' not in message and 'Traceback' not in message
  return message


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """Makes a folder the current one, and that of the user."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  return tmp_path


@pytest.mark.parametrize('name', ['pcm', 'pcm.py', 'configs/pcm.py',
                                  'configs/pcm', './configs/pcm.py', OWN])
def test_a_shipped_config_is_found_from_any_folder(elsewhere, name):
  path, argument = config_files.find(f'{name}:tiny,delta')
  assert path.samefile(OWN) and argument == 'tiny,delta'


def test_a_study_is_found_by_its_name(elsewhere):
  path, argument = config_files.find('studies/sinusoid')
  assert path.samefile(ROOT / 'configs/studies/sinusoid.py')
  assert argument == ''


def test_a_file_of_ones_own_comes_first(elsewhere):
  (elsewhere / 'pcm.py').write_text('')
  assert config_files.find('pcm.py')[0].samefile(elsewhere / 'pcm.py')
  assert config_files.find('~/pcm.py')[0].samefile(elsewhere / 'pcm.py')
  assert config_files.find('pcm')[0].samefile(OWN)


@pytest.mark.parametrize('name,near', [
    ('pmc', 'pcm'), ('configs/pref.py', 'perf'), ('omniglott:tiny', 'omniglot'),
    ('studies/sinusoids', 'studies/sinusoid')])
def test_a_misspelt_name_is_refused_with_the_nearest(elsewhere, name, near):
  message = refusal(f'--config={name}')
  assert message.startswith(f'--config={name}: there is no file')
  assert message.endswith(f'did you mean {near}?')


def test_names_are_listed_where_none_is_near(elsewhere):
  assert 'float, nmnist, omniglot, pcm, perf' in refusal('--config=zzzz')
  assert 'float, nmnist, omniglot, pcm, perf' in refusal()
  assert 'needs a value' in refusal('--config')


def test_the_config_is_that_of_the_file_with_its_argument():
  found = config_files.parse(['--config', 'pcm:tiny'])
  assert found.config.to_dict() == pcm.get_config('tiny').to_dict()
  assert found.config.is_locked and found.name == 'pcm:tiny'
  assert found.overrides == {} and found.rest == []


def test_flags_change_fields_wherever_they_stand():
  found = config_files.parse([
      '--config.seed=3', '--config=perf', '--config=pcm:tiny',
      '--config.network.hidden_sizes=(4,)', '--config.seed', '5'])
  assert found.config.name == 'pcm'
  assert found.config.seed == 5 and found.config.network.hidden_sizes == (4,)
  assert found.overrides == {'seed': 5, 'network.hidden_sizes': (4,)}


@pytest.mark.parametrize('flag,expected', [
    ('--config.training.num_step=3', 'no such config field; did you mean '
     'training.num_steps?'),
    ('--config.num_events=3', 'did you mean adapt.num_events?'),
    ('--config.zzzz=3', '--config.zzzz: no such config field'),
    ('--config.seed.zzzz=3', 'no such config field'),
    ('--config.training.num_steps=1e3', '--config.training.num_steps=1e3: '
     'must be a whole number'),
    ('--config.training.learning_rate=x', 'must be a number'),
    ('--config.crossbar.slow_read_noise=maybe', 'slow_read_noise=maybe: must '
     'be true or false'),
    ('--only_check_args', "'only_check_args'"),
    ('--flagfile=/nonexistent', "--flagfile='/nonexistent': No such file"),
])
def test_a_flag_that_cannot_be_is_refused(flag, expected):
  assert expected in refusal('--config=pcm', flag)


def test_variants_joined_by_colons_are_refused_with_the_right_form(tmp_path):
  path = tmp_path / 'own.py'  # which knows nothing of variants
  path.write_text('def get_config(argument):\n  return {"tiny": 1}[argument]')
  message = refusal('--config=configs/pcm.py:closed_loop:tiny')
  assert message.count('use commas between variants') == 1
  message = refusal(f'--config={path}:closed_loop:tiny')
  assert message.endswith(': use commas between variants, as in '
                          f'{path}:closed_loop,tiny')


def test_a_file_of_ones_own_builds_upon_ours(elsewhere, monkeypatch):
  (elsewhere / 'own.py').write_text(
      'from configs import pcm\nfrom configs.studies import sinusoid\n'
      'def get_config(argument=""):\n  config = pcm.get_config(argument)\n'
      '  config.seed = 7\n  return config\n')
  root = str(ROOT)
  monkeypatch.setattr(sys, 'path', [path for path in sys.path if path != root])
  for name in [name for name in sys.modules if name.split('.')[0] == 'configs']:
    monkeypatch.delitem(sys.modules, name)
  sys.path_importer_cache.clear()
  found = config_files.parse(['--config=own.py:tiny'])
  assert found.config.seed == 7
  assert found.config.training.num_steps == pcm.VARIANTS['tiny'][
      'training.num_steps']
  assert sys.modules['configs.pcm'].__file__ == str(OWN)


@pytest.mark.parametrize('source,expected', [
    ('x = 1', 'has no function get_config'),
    ('get_config = 3', 'has no function get_config'),
    ('def get_config(argument=""):\n  return 5', 'returns 5, which is no'),
    ('def get_config(argument=""):\n  pass', 'returns None'),
    ('def get_config():\n  raise SystemExit(7)', 'SystemExit: 7'),
    ('def get_config():\n  raise BaseException("a\\nb")', 'BaseException: a b'),
    ('1 / 0', 'ZeroDivisionError: division by zero'),
    ('raise OSError("no disk")', 'OSError: no disk'),
    ('def get_config(:', 'SyntaxError: '),
    ('import nothing_of_this_name', 'nothing_of_this_name'),
])
def test_what_a_config_file_raises_is_told_in_a_line(
    tmp_path, source, expected):
  path = tmp_path / 'own.py'
  path.write_text(source)
  message = refusal(f'--config={path}')
  assert message.startswith(f'--config={path}: ') and expected in message


def test_a_file_that_is_no_python_is_refused(tmp_path):
  (tmp_path / 'own.txt').write_text('x')
  assert 'ends in .py' in refusal(f'--config={tmp_path / "own.txt"}')


def test_a_flag_file_may_name_the_config(tmp_path):
  (tmp_path / 'flags').write_text('--config=pcm:tiny\n--config.seed=8\n')
  found = config_files.parse([f'--flagfile={tmp_path / "flags"}'])
  assert (found.name, found.config.seed) == ('pcm:tiny', 8)


def test_pretrained_parameters_are_found_from_any_folder(elsewhere):
  name = 'configs/pretrained/omniglot.npz'
  assert build_task.located(name).samefile(ROOT / name)
  (elsewhere / 'configs/pretrained').mkdir(parents=True)
  (elsewhere / name).write_text('')
  assert build_task.located(name).samefile(elsewhere / name)
  assert build_task.located('~/own.npz') == elsewhere / 'own.npz'
