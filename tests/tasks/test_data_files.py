"""A folder of data is read whole, links and all, or refused in one line."""

import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

from meta_analog.tasks import data_files
from meta_analog.tasks import nmnist_files
from meta_analog.tasks import omniglot_files
from tests.helpers import small_data


@pytest.fixture
def nmnist(tmp_path):
  """A small N-MNIST as a folder, four recordings of each digit."""
  return small_data.nmnist(tmp_path / 'nmnist', zipped=False, per_digit=4)


def _linked(path, to):
  """Moves a file or folder away and leaves a link to it."""
  shutil.move(path, to)
  path.symlink_to(to, target_is_directory=to.is_dir())


def _refusal(folder):
  with pytest.raises(ValueError) as caught:
    nmnist_files.load(str(folder), 500)
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize('part', [
    'Train/3/00001.bin', 'Train/3', 'Train', ''])
def test_linked_recordings_are_read_whole(nmnist, part, tmp_path):
  whole = nmnist_files.load(str(nmnist), 500)
  shutil.rmtree(tmp_path / 'cache')
  (tmp_path / 'elsewhere').mkdir()
  _linked(nmnist / part, tmp_path / 'elsewhere' / 'moved')
  linked = nmnist_files.load(str(nmnist), 500)
  assert np.bincount(linked['digit']).tolist() == [4] * 10
  for name, array in whole.items():
    np.testing.assert_array_equal(linked[name], array)


def test_linked_characters_are_read_whole(tmp_path):
  folder = small_data.omniglot(tmp_path / 'omniglot', zipped=False)
  load = lambda: omniglot_files.load(str(folder), small_data.NUM_CHARACTERS)
  whole = load()
  shutil.rmtree(tmp_path / 'cache')
  alphabet = folder / 'images_background' / 'Old'
  _linked(alphabet / 'character02', tmp_path / 'character')
  _linked(alphabet / 'character01' / '0001_05.png', tmp_path / 'drawing')
  _linked(folder / 'images_evaluation', tmp_path / 'images')
  linked = load()
  np.testing.assert_array_equal(linked['images'], whole['images'])
  np.testing.assert_array_equal(linked['names'], whole['names'])


def test_what_changes_behind_a_link_is_read_anew(nmnist, tmp_path):
  _linked(nmnist / 'Train' / '3', tmp_path / 'three')
  nmnist_files.load(str(nmnist), 500)
  more = small_data.aer(small_data.recording(3, 77))
  (tmp_path / 'three' / '00077.bin').write_bytes(more)
  assert np.bincount(nmnist_files.load(str(nmnist), 500)['digit'])[3] == 5


def test_files_of_the_finder_are_no_data(nmnist, tmp_path):
  whole = nmnist_files.load(str(nmnist), 500)
  for place in ('Train/3/._00001.bin', 'Train/._3', 'Train/.DS_Store',
                '._nmnist.zip', 'Train/__MACOSX/5/00001.bin'):
    (nmnist / place).parent.mkdir(exist_ok=True, parents=True)
    (nmnist / place).write_bytes(b'\0\5\x16\7')
  with zipfile.ZipFile(nmnist / 'more.zip', 'w') as archive:
    for place in ('Train/3/._00001.bin', '__MACOSX/Train/3/00009.bin'):
      archive.writestr(place, b'\0\5\x16\7')
  found = nmnist_files.load(str(nmnist), 500)
  np.testing.assert_array_equal(found['digit'], whole['digit'])
  folder = small_data.omniglot(tmp_path / 'omniglot', zipped=False)
  character = folder / 'images_background' / 'Old' / 'character01'
  (character / '._0001_05.png').write_bytes(b'\0\5\x16\7')
  omniglot_files.load(str(folder), small_data.NUM_CHARACTERS)


@pytest.mark.parametrize('link', [
    'Train/3/00009.bin', 'Train/3/more', 'Train/11', 'Test', 'more.zip'])
def test_a_link_that_leads_nowhere_is_named(nmnist, link):
  if link == 'Test':
    shutil.rmtree(nmnist / link)
  (nmnist / link).symlink_to('/no/such/place')
  text = _refusal(nmnist)
  assert f'{nmnist / link} is a link to /no/such/place' in text


@pytest.mark.parametrize('target', ['.', '..', '../..', 'again'])
def test_a_link_in_a_circle_is_named(nmnist, target):
  (nmnist / 'Train' / '3' / 'again').symlink_to(target)
  text = _refusal(nmnist)
  assert str(nmnist / 'Train' / '3' / 'again') in text and 'link' in text


def test_a_link_to_a_folder_beside_is_no_circle(nmnist):
  shutil.rmtree(nmnist / 'Train' / '5')
  (nmnist / 'Train' / '5').symlink_to('3')
  digits = nmnist_files.load(str(nmnist), 500)['digit']
  assert np.bincount(digits).tolist() == [4] * 10


def test_a_link_within_an_archive_is_named(tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist', per_digit=4)
  entry = zipfile.ZipInfo('Train/12')
  entry.external_attr = 0o120777 << 16
  with zipfile.ZipFile(folder / 'nmnist.zip', 'a') as archive:
    archive.writestr(entry, '3')
  assert 'nmnist.zip holds the link Train/12' in _refusal(folder)


def test_a_pipe_among_the_files_is_named(nmnist):
  os.mkfifo(nmnist / 'Train' / '3' / '00009.bin')
  assert 'is neither a file nor a folder' in _refusal(nmnist)


def test_a_folder_that_cannot_be_read_is_named(nmnist, monkeypatch):
  listdir = os.listdir

  def refuse(path):  # also where the tests run as root
    if pathlib.Path(path).name == '3':
      raise PermissionError(13, 'Permission denied', str(path))
    return listdir(path)

  monkeypatch.setattr(data_files.os, 'listdir', refuse)
  assert f'{nmnist / "Train" / "3"} cannot be read' in _refusal(nmnist)
