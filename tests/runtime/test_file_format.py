"""Each file carries its format, and a reader refuses one it does not know."""

import json

import numpy as np
import pytest

from meta_analog.config import build_task
from meta_analog.core import errors
from meta_analog.runtime import atomic_files
from meta_analog.runtime import manifest


@pytest.mark.parametrize('found', [2, 0, '1', True, None, [1]])
def test_a_json_file_of_another_format_is_refused_with_both(found, tmp_path):
  path = tmp_path / 'summary.json'
  path.write_text(json.dumps({'format': found, 'after': 0.5}))
  with pytest.raises(errors.InputError) as error:
    atomic_files.read_json(path)
  text = str(error.value)
  assert text.startswith(f'{path} has format {found}, ')
  assert 'reads format 1' in text and '\n' not in text


@pytest.mark.parametrize('found', [2, [1, 1]])
def test_arrays_of_another_format_are_refused_with_both(found, tmp_path):
  path = tmp_path / 'evaluation.npz'
  np.savez(path, format=found, after=0.5)
  with pytest.raises(errors.InputError, match='has format .*reads format 1'):
    atomic_files.read_npz(path)


def test_a_manifest_of_another_format_is_refused(tmp_path):
  manifest.write(tmp_path, {'format': 2})
  with pytest.raises(errors.InputError, match='manifest.json has format 2'):
    manifest.verify(tmp_path)


def test_the_format_is_written_and_not_given_back(tmp_path):
  atomic_files.write_json(tmp_path / 'a.json', {'after': 0.5})
  assert json.loads((tmp_path / 'a.json').read_text()) == {
      'format': 1, 'after': 0.5}
  assert atomic_files.read_json(tmp_path / 'a.json') == {'after': 0.5}
  atomic_files.write_npz(tmp_path / 'a.npz', {'after': np.ones(2)})
  with np.load(tmp_path / 'a.npz') as data:
    assert data['format'] == 1 and data['format'].shape == ()
  assert set(atomic_files.read_npz(tmp_path / 'a.npz')) == {'after'}


def test_files_without_a_number_are_read_as_format_1(tmp_path):
  (tmp_path / 'a.json').write_text('{"after": 0.5}')
  assert atomic_files.read_json(tmp_path / 'a.json') == {'after': 0.5}
  shipped = build_task.located('configs/pretrained/omniglot_float.npz')
  with np.load(shipped) as data:
    assert 'format' not in data.files
  assert atomic_files.read_npz(shipped)
