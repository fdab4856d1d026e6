"""Checkpoints and other files: whole, verified, or refused in one line."""

import json
import os
import shutil
import tempfile

import jax
import jax.numpy as jnp
import pytest

from meta_analog.core import errors
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import manifest
from tests.helpers import damage

STATE = damage.STATE
FACTS = damage.FACTS
_flip = damage.flip
DAMAGES = damage.DAMAGES


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


@pytest.mark.parametrize('name, match', [
    ('run[1]', 'run1'), ('*', 'ab'), ('a\\b', 'ab'), ('gs:', None),
    ('a\udcff', None), (' ü\n~', None)])
def test_a_path_of_any_characters_holds_checkpoints(tmp_path, name, match):
  # What such a name would match as a pattern has other contents.
  for other, value in ((match, 3), (name, 0)):
    if other:
      store = checkpoints.Checkpoints(tmp_path / other / 'checkpoints')
      store.save(1, jax.tree.map(lambda x, v=value: x + v, STATE), b'', FACTS)
  assert store.steps() == [1]
  assert _value(store.newest(STATE, pytest.fail)) == 0.0
  assert (tmp_path / name / 'checkpoints/1/state').is_dir()


def test_a_path_that_no_plain_name_leads_to_is_refused(tmp_path, monkeypatch):
  (tmp_path / '[1]').mkdir()
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / '[1]'))
  checkpoints.Checkpoints(tmp_path)
  with pytest.raises(errors.InputError, match='choose another --workdir'):
    checkpoints.Checkpoints(tmp_path / '[1]')


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
