"""Cached data are the arrays that were built, or they are built anew."""

import numpy as np
import pytest

from meta_analog.runtime import atomic_files
from meta_analog.tasks import data_cache

ARRAYS = {'images': np.arange(60, dtype=np.uint8).reshape(3, 4, 5),
          'start': np.array([0, 7, 2**40]), 'names': np.array(['a/b', 'ü'])}
NUM_FLIPS = 300  # of a bit, through the whole path


@pytest.fixture
def source(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  (tmp_path / 'data.bin').write_bytes(b'published')
  return tmp_path / 'data.bin'


@pytest.fixture
def kept(source):
  """The cached file of ARRAYS."""
  data_cache.cached('small', [source], lambda: ARRAYS)
  path, = data_cache.cache_folder().glob('small_*.npz')
  return path


def _load(source, build=None):
  return data_cache.cached('small', [source], build or (
      lambda: pytest.fail('built')))


def _are_the_arrays(found):
  assert found.keys() == ARRAYS.keys()
  for name, array in ARRAYS.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def test_the_cached_arrays_are_those_that_were_built(source, kept, capsys):
  assert kept.is_file()
  _are_the_arrays(_load(source))
  assert not capsys.readouterr().err


def test_a_file_that_another_process_writes_is_not_touched(source, kept):
  half = kept.with_name(kept.name + atomic_files.PARTIAL)
  half.write_bytes(b'half')
  kept.unlink()
  _load(source, lambda: ARRAYS)
  _are_the_arrays(_load(source))
  assert half.read_bytes() == b'half'
  assert {*kept.parent.iterdir()} == {kept, half}


def test_every_flipped_bit_is_noticed_before_anything_is_parsed(
    kept, monkeypatch):
  monkeypatch.setattr(data_cache.np, 'load', lambda *_, **__: pytest.fail(
      'parsed'))
  content = bytearray(kept.read_bytes())
  for place in range(len(content)):
    bit = 1 << place % 8
    content[place] ^= bit
    kept.write_bytes(content)
    assert data_cache._load(kept) is None
    content[place] ^= bit


def test_a_flipped_bit_is_mended_with_one_line(source, kept, capsys):
  good = kept.read_bytes()
  random = np.random.RandomState(0)
  for place in random.randint(0, 8 * len(good), NUM_FLIPS):
    content = bytearray(good)
    content[place // 8] ^= 1 << place % 8
    kept.write_bytes(content)
    built = []
    _are_the_arrays(_load(source, lambda: built.append(1) or ARRAYS))
    assert built and kept.read_bytes() == good
  assert capsys.readouterr().err.splitlines() == NUM_FLIPS * [
      f'Warning: the cached data {kept} are damaged or of another version; '
      'they are made anew.']


@pytest.mark.parametrize('content', [
    lambda good: b'', lambda good: good[:20], lambda good: good[:-1],
    lambda good: good + b'\0', lambda good: b'\n' * 300,
    lambda good: good.replace(b'format 2', b'format 1'),
    lambda good: good[good.index(b'PK'):]],  # as it was before the digest
    ids=['empty', 'cut head', 'cut', 'longer', 'other', 'version', 'no head'])
def test_another_content_is_built_anew(source, kept, content, capsys):
  good = kept.read_bytes()
  kept.write_bytes(content(good))
  _are_the_arrays(_load(source, lambda: ARRAYS))
  assert 'made anew' in capsys.readouterr().err and kept.read_bytes() == good


def test_a_folder_in_its_place_is_left_alone(source, kept, capsys):
  kept.unlink()
  kept.mkdir()
  _are_the_arrays(_load(source, lambda: ARRAYS))
  assert 'made anew' in capsys.readouterr().err and kept.is_dir()


def test_without_a_home_data_are_read_and_not_cached(
    source, monkeypatch, capsys):
  def gone(path):
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(data_cache.pathlib.Path, 'expanduser', gone)
  _are_the_arrays(_load(source, lambda: ARRAYS))
  text = capsys.readouterr().err
  assert 'data are not cached: there is no home folder' in text
