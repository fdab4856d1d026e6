"""The folder of a run: held by one, of one config, its results whole."""

import os

import pytest

from configs import nmnist
from configs import pcm
from meta_analog.core import errors
from meta_analog.experiment import run_record
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from tests.helpers import damage

STATE = damage.STATE
FACTS = damage.FACTS
DAMAGES = damage.DAMAGES


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
  with workdir.locked(tmp_path):
    with pytest.raises(errors.InputError, match=f'process {os.getpid()}'):
      with workdir.locked(tmp_path):
        pytest.fail('two runs in one folder')
  with workdir.locked(tmp_path):
    pass


@pytest.fixture
def claimed(tmp_path):
  config = pcm.get_config('tiny')
  workdir.claim(config, tmp_path, pytest.fail)
  checkpoints.Checkpoints(tmp_path / 'checkpoints').save(
      1, STATE, b'', FACTS | {'config': workdir.as_json(config)})
  return config


@pytest.mark.parametrize('kind', ['truncated', 'emptied', 'flipped', 'deleted'])
def test_a_damaged_config_json_is_mended_from_a_checkpoint(
    claimed, kind, tmp_path):
  path = tmp_path / 'config.json'
  whole = path.read_bytes()
  DAMAGES[kind](path)
  if kind == 'truncated':
    path.write_bytes(whole[:-9])
  logged = []
  workdir.claim(claimed, tmp_path, logged.append)
  assert path.read_bytes() == whole and len(logged) == 1


def test_a_run_of_another_config_is_refused_with_the_fields(claimed, tmp_path):
  other = pcm.get_config('tiny')
  other.update_from_flattened_dict({'seed': 3, 'adapt.update_bits': 4})
  with pytest.raises(errors.InputError, match=(
      'adapt.update_bits = 5 is now 4, seed = 0 is now 3; choose')):
    workdir.claim(other, tmp_path, pytest.fail)


def test_a_checkpoint_of_another_config_is_refused_with_the_fields(
    claimed, tmp_path):
  path = tmp_path / 'config.json'
  other = pcm.get_config('tiny')
  other.update_from_flattened_dict({'seed': 3})
  atomic_files.write_json(path,
                          workdir.as_json(other))  # but not its checkpoints
  with pytest.raises(errors.InputError, match='config: seed = 0 is now 3'):
    workdir.claim(other, tmp_path, pytest.fail)


def test_a_config_json_that_is_not_that_of_the_checkpoints_is_not_tested(
    claimed, tmp_path):
  path = tmp_path / 'config.json'
  assert workdir.check_of_run(claimed, tmp_path)
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 2'))
  with pytest.raises(errors.CorruptFileError, match='seed differ'):
    workdir.check_of_run(claimed, tmp_path)


@pytest.mark.parametrize('field, value', [
    ('network.hidden_sizes', (3, 5)), ('network.input_channels', 2)])
def test_a_net_is_not_tested_as_one_of_another_shape(
    claimed, tmp_path, field, value):
  other = pcm.get_config('tiny')
  other.update_from_flattened_dict({field: value})
  with pytest.raises(errors.InputError, match=field):
    workdir.check_of_run(other, tmp_path)


@pytest.mark.parametrize('field, value', [('task.way', 3), ('task.pool', 3)])
def test_a_net_is_not_tested_on_tasks_of_another_shape(tmp_path, field, value):
  other = nmnist.get_config('tiny')
  atomic_files.write_json(tmp_path / 'config.json', workdir.as_json(other))
  assert workdir.check_of_run(other, tmp_path)
  other.task.shot = 2
  assert not workdir.check_of_run(other, tmp_path)
  other.update_from_flattened_dict({field: value})
  with pytest.raises(errors.InputError, match=f'{field} = '):
    workdir.check_of_run(other, tmp_path)


def test_a_run_in_chunks_of_before_is_a_run_of_now(tmp_path):
  config = pcm.get_config('tiny')
  values = workdir.as_json(config)
  assert values['training']['chips_per_chunk'] == 0
  values['training']['chips_per_chunk'] = 1
  atomic_files.write_json(tmp_path / 'config.json', values)
  assert not workdir.check_of_run(config, tmp_path)  # chosen, of now
  del values['training']['tasks_at_once']
  atomic_files.write_json(tmp_path / 'config.json', values)
  assert workdir.check_of_run(config, tmp_path)


def test_the_sizes_of_a_saved_task_follow_from_its_shots(tmp_path):
  config = nmnist.get_config('tiny')
  atomic_files.write_json(tmp_path / 'config.json', workdir.as_json(config))
  saved = saved_config.get_config(str(tmp_path))
  assert workdir.as_json(saved) == workdir.as_json(config)
  saved.task.shot, saved.task.query_shot = 2, 3
  assert (saved.task.support_size, saved.task.query_size) == (10, 15)


def test_a_result_is_the_last_file_that_is_written(tmp_path, monkeypatch):
  run_record.finish(tmp_path, 'summary.json', {'after': 1})
  write, written = atomic_files.write_bytes, []

  def dies(path, content):
    written.append(path.name)
    if path.name == 'summary.json':
      raise KeyboardInterrupt  # killed between the two files
    write(path, content)

  monkeypatch.setattr(atomic_files, 'write_bytes', dies)
  with pytest.raises(KeyboardInterrupt):
    run_record.finish(tmp_path, 'summary.json', {'after': 2})
  assert written == ['run.json', 'summary.json']
  # So the same command does not take the run for a finished one.
  assert run_record.result(tmp_path, 'summary.json') is None


def test_a_changed_result_is_seen(tmp_path):
  run_record.finish(tmp_path, 'summary.json', {'after': 0.125})
  assert run_record.result(tmp_path, 'summary.json') == {'after': 0.125}
  atomic_files.write_json(tmp_path / 'summary.json', {'after': 0.025})
  with pytest.raises(errors.CorruptFileError):
    run_record.result(tmp_path, 'summary.json')
  assert run_record.result(tmp_path, 'other.json') is None
