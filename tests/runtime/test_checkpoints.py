"""Checkpoints and other files: whole, verified, or refused in one line."""

import json
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from configs import nmnist
from configs import pcm
from meta_analog.core import errors
from meta_analog.experiment import run_record
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import manifest
from meta_analog.runtime import metrics

STATE = {'w': jnp.arange(12.0).reshape(3, 4), 'step': jnp.int32(7)}
FACTS = {'config': {'seed': 0}, 'wall_s': 1.5}


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
  path.write_bytes(b'')


def _flip(path, bit=3):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1 << bit
  path.write_bytes(data)


def _link(path):
  target = path.parent.parent.parent / 'elsewhere'
  shutil.copy(path, target)
  path.unlink()
  path.symlink_to(target)


DAMAGES = {'truncated': _truncate, 'emptied': _empty, 'flipped': _flip,
           'deleted': os.unlink, 'linked': _link}


@pytest.fixture
def saved(tmp_path):
  store = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  for step in (1, 2):
    store.save(step, jax.tree.map(lambda x: x + step, STATE), b'{}\n' * step,
              FACTS)
  return store


def _value(restored):
  return float(restored.state['w'][0, 0])


def test_a_checkpoint_comes_back_with_its_metrics_and_facts(saved):
  restored = saved.restore(2, STATE)
  assert jnp.array_equal(restored.state['w'], STATE['w'] + 2)
  assert restored.state['step'].dtype == jnp.int32
  assert restored.metrics == b'{}\n{}\n' and restored.facts['wall_s'] == 1.5


@pytest.mark.parametrize('kind', sorted(DAMAGES))
def test_every_damaged_file_of_the_newest_falls_back_to_the_one_before(
    saved, kind, tmp_path):
  newest = tmp_path / 'checkpoints' / '2'
  whole = tmp_path / 'whole'
  shutil.copytree(newest, whole)
  names = [p.relative_to(whole) for p in whole.rglob('*') if p.is_file()]
  assert len(names) > 8 and manifest.NAME in map(str, names)
  for name in names:
    DAMAGES[kind](newest / name)
    logged = []
    restored = saved.newest(STATE, logged.append)
    assert _value(restored) == 1.0, name
    assert len(logged) == 1 and 'checkpoint 2 is damaged' in logged[0]
    assert '\n' not in logged[0] and len(logged[0]) < 300
    shutil.rmtree(newest)
    shutil.copytree(whole, newest)
  assert _value(saved.newest(STATE, pytest.fail)) == 2.0


def test_where_all_are_damaged_the_run_does_not_begin_again(saved, tmp_path):
  for step in (1, 2):
    _flip(tmp_path / 'checkpoints' / str(step) / checkpoints.METRICS, 0)
  with pytest.raises(errors.CorruptFileError,
                     match='no checkpoint in .* is good'):
    saved.newest(STATE, lambda text: None)


def test_a_damaged_one_is_set_aside_and_its_step_can_be_saved_again(
    saved, tmp_path):
  _flip(tmp_path / 'checkpoints' / '2' / checkpoints.METRICS, 0)
  saved.newest(STATE, lambda text: None, set_aside=True)
  assert saved.steps() == [1]
  assert (tmp_path / 'checkpoints' / '2.damaged').is_dir()
  saved.save(2, STATE, b'', FACTS)
  assert _value(saved.newest(STATE, pytest.fail)) == 0.0


def test_a_checkpoint_without_a_manifest_does_not_count(saved, tmp_path):
  half = tmp_path / 'checkpoints' / f'3{atomic_files.PARTIAL}'
  shutil.copytree(tmp_path / 'checkpoints' / '2', half)
  (half / manifest.NAME).unlink()
  assert saved.steps() == [2, 1]
  atomic_files.remove_partial(tmp_path / 'checkpoints')
  assert not half.exists() and saved.steps() == [2, 1]


def test_the_newest_few_stay(saved):
  for step in range(3, 7):
    saved.save(step, STATE, b'', FACTS)
  assert saved.steps() == [6, 5, 4]


@pytest.mark.parametrize('template, word', [
    ({'w': jnp.zeros((4, 3)), 'step': jnp.int32(0)}, r'\[3, 4\]'),
    ({'w': jnp.zeros((3, 4), jnp.bfloat16), 'step': jnp.int32(0)}, 'bfloat16'),
    ({'w': jnp.zeros((3, 4))}, 'step'),
    (STATE | {'more': jnp.zeros(2)}, 'more'),
])
def test_another_shape_dtype_or_tree_is_refused_by_name(saved, template, word):
  with pytest.raises(errors.CorruptFileError, match=word):
    saved.restore(2, template)


def test_a_value_that_orbax_reads_wrongly_is_seen(saved, tmp_path):
  folder = tmp_path / 'checkpoints' / '2'
  facts = json.loads((folder / manifest.NAME).read_text())
  del facts['files'], facts['sha256']
  (folder / manifest.NAME).unlink()
  manifest.write(folder, facts | {'state_sha256': checkpoints.digest(STATE)})
  with pytest.raises(errors.CorruptFileError,
                     match='something else than was saved'):
    saved.restore(2, STATE)


def test_what_cannot_be_read_back_is_no_checkpoint(saved, monkeypatch):
  read = checkpoints._read
  monkeypatch.setattr(
      checkpoints, '_read', lambda path, template: jax.tree.map(
          lambda x: x + 1, read(path, template)))
  with pytest.raises(errors.StorageError, match='reads something else'):
    saved.save(3, STATE, b'', FACTS)
  assert saved.steps() == [2, 1]


@pytest.mark.parametrize('name', ['run[1]', 'lr]', 'a\\b'])
def test_a_path_that_orbax_takes_for_a_pattern_is_refused(tmp_path, name):
  with pytest.raises(errors.InputError, match='choose another --workdir'):
    checkpoints.Checkpoints(tmp_path / name)


def test_a_checkpoints_folder_that_is_a_link_is_refused(saved, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run/checkpoints').symlink_to(tmp_path / 'checkpoints')
  with pytest.raises(errors.CorruptFileError, match='is a link'):
    checkpoints.Checkpoints(tmp_path / 'run/checkpoints')


def test_a_file_that_was_not_written_does_not_belong_there(saved, tmp_path):
  (tmp_path / 'checkpoints' / '2' / 'more').write_text('x')
  with pytest.raises(errors.CorruptFileError,
                     match='more does not belong there'):
    saved.restore(2, STATE)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'file'
  path.write_text('old')
  with pytest.raises(KeyError), atomic_files.replacing(path) as partial:
    partial.write_text('new, ha')
    raise KeyError
  assert path.read_text() == 'old' and os.listdir(tmp_path) == ['file']


def _board(folder):
  """Returns the scalars (tag, step, value) and the steps made void."""
  scalars, voids = [], []
  for path in folder.iterdir():
    data = path.read_bytes()
    while data:  # length, its checksum, event, its checksum
      size = int.from_bytes(data[:8], 'little')
      event = event_pb2.Event.FromString(data[12:12 + size])
      data = data[16 + size:]
      scalars += [(value.tag, event.step, value.simple_value)
                  for value in event.summary.value]
      voids += [event.step] if event.HasField('session_log') else []
  return scalars, voids


def test_metrics_resume_from_the_lines_of_the_checkpoint(tmp_path):
  log = metrics.Metrics(tmp_path)
  for step in (1, 2, 3):
    log.write(step, {'loss': 0.5, 'rate_Hz': np.ones(2), 'timing': {'s': None}})
    if step == 2:
      lines = log.content()
  log.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "lo')  # killed here
  log = metrics.Metrics(tmp_path, lines, 2)
  log.write(3, {'loss': 0.25})
  log.close()
  lines = metrics.read(tmp_path / 'metrics.jsonl')
  assert [line['step'] for line in lines] == [1, 2, 3]
  assert lines[2]['loss'] == 0.25 and lines[0]['rate_Hz'] == [1.0, 1.0]
  scalars, voids = _board(tmp_path / 'tensorboard')
  assert ('loss', 3, 0.25) in scalars and ('rate_Hz/1', 1, 1.0) in scalars
  assert voids == [3]  # TensorBoard drops what was written of later steps


def test_a_line_that_the_disk_cannot_hold_is_taken_back(tmp_path):
  log = metrics.Metrics(tmp_path)
  log.write(1, {'loss': 0.5})
  before = (tmp_path / 'metrics.jsonl').read_bytes()
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
  try:
    with pytest.raises(OSError):
      log.write(2, {'loss': 0.5})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before


def test_wandb_is_asked_for_by_name_and_gets_the_numbers(
    tmp_path, monkeypatch):
  class Fake:
    logged = []

    def init(self, **options):
      self.options = options
      return self

    def log(self, values, step):
      self.logged.append((step, values))

    def finish(self):
      self.logged.append('finished')

  monkeypatch.setitem(__import__('sys').modules, 'wandb', None)
  with pytest.raises(errors.InputError, match=r'\[wandb\]'):
    metrics.open_wandb('project', tmp_path, {})
  fake = Fake()
  monkeypatch.setitem(__import__('sys').modules, 'wandb', fake)
  run = metrics.open_wandb('project', tmp_path, {'seed': 3})
  assert fake.options['project'] == 'project'
  assert fake.options['config'] == {'seed': 3}
  log = metrics.Metrics(tmp_path, wandb_run=run)
  log.write(1, {'loss': 0.5, 'rate_Hz': [3.0, 4.0]})
  log.close()
  assert fake.logged == [
      (1, {'loss': 0.5, 'rate_Hz/0': 3.0, 'rate_Hz/1': 4.0}), 'finished']


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
  with pytest.raises(errors.InputError, match='adapt.update_bits, seed diff'):
    workdir.claim(other, tmp_path, pytest.fail)


def test_a_checkpoint_of_another_config_is_refused_with_the_fields(
    claimed, tmp_path):
  path = tmp_path / 'config.json'
  other = pcm.get_config('tiny')
  other.update_from_flattened_dict({'seed': 3})
  atomic_files.write_json(path,
                          workdir.as_json(other))  # but not its checkpoints
  with pytest.raises(errors.InputError, match='config: seed differ'):
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


def test_a_changed_result_is_seen(tmp_path):
  atomic_files.write_json(tmp_path / 'summary.json', {'after': 0.125})
  run_record.finish(tmp_path, 'summary.json')
  assert run_record.result(tmp_path, 'summary.json') == {'after': 0.125}
  atomic_files.write_json(tmp_path / 'summary.json', {'after': 0.025})
  with pytest.raises(errors.CorruptFileError):
    run_record.result(tmp_path, 'summary.json')
  assert run_record.result(tmp_path, 'other.json') is None
