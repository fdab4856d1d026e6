"""Files of Omniglot: read, cached, fetched, or refused in one line."""

import hashlib
import http.server
import threading
import zipfile
import zlib

import numpy as np
import pytest

from meta_analog.tasks import data_cache
from meta_analog.tasks import few_shot
from meta_analog.tasks import omniglot_files
from tests.helpers import small_data


@pytest.fixture(scope='module')
def arrays(omniglot_arrays):
  return omniglot_arrays


def test_a_folder_and_an_archive_give_the_same(arrays, tmp_path):
  other = small_data.load_omniglot(
      small_data.omniglot(tmp_path / 'omniglot', zipped=False))
  for name, value in arrays.items():
    np.testing.assert_array_equal(other[name], value)


def test_the_real_files_are_the_published_ones(monkeypatch):
  monkeypatch.undo()  # They take 10 s to read: kept where a run keeps them.
  arrays = omniglot_files.load(small_data.real('omniglot'))
  assert arrays['images'].shape == (1623, 20, 28, 28)
  assert [len(arrays[split]) for split in few_shot.SPLITS] == [4112, 688, 1692]
  # Nearly all drawings differ, and strokes cover less than a fifth.
  flat = arrays['images'].reshape(1623 * 20, -1)
  assert len({row.tobytes() for row in flat}) > 32400
  assert 0.02 < flat.mean() / 255 < 0.2 and flat.max(axis=1).min() > 100


def _cut(folder):
  path = folder / 'images_evaluation.zip'
  path.write_bytes(path.read_bytes()[:-300])


def _flip(folder):
  path = folder / 'images_background.zip'
  content = bytearray(path.read_bytes())
  content[len(content) // 3] ^= 0xff
  path.write_bytes(content)


def _change(name, files):
  def change(folder):
    with zipfile.ZipFile(folder / name, 'a') as archive:
      for path, content in files.items():
        archive.writestr(path, content)
  return change


def _append(name, text):
  def append(folder):
    with (folder / name).open('a', encoding='latin-1') as file:
      file.write(text)
  return append


def _claim(side):
  """Returns a picture that says that it is this large."""
  content = bytearray(small_data.png(small_data.drawing(0, 0)))
  content[16:24] = 2 * side.to_bytes(4, 'big')
  content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
  return bytes(content)


def _demand(folder):
  """Asks of whoever reads an archive for a later version of its format."""
  path = folder / 'images_evaluation.zip'
  content = bytearray(path.read_bytes())
  content[content.index(b'PK\1\2') + 6] = 84
  path.write_bytes(content)

DAMAGES = {
    'images_evaluation.zip is damaged': _cut,
    'images_evaluation.zip is damaged: zip file version': _demand,
    'images_background.zip is damaged at images_background/Old': _flip,
    'vinyals_val.txt is missing': lambda folder:
                                  (folder / 'vinyals_val.txt').unlink(),
    r"vinyals_test.txt, line 9: 'No/character01/rot000'": _append(
        'vinyals_test.txt', 'No/character01/rot000\n'),
    'Old/character01 is in the split train too': _append(
        'vinyals_test.txt', 'Old/character01/rot000\n'),
    'line 9: New/character01/rot090 is there twice': _append(
        'vinyals_test.txt', 'New/character01/rot090\n'),
    'leave out 1 of 20 classes, such as New/character02/rot270: one':
        (lambda folder: (folder / 'vinyals_test.txt').write_text('\n'.join(
            (folder / 'vinyals_test.txt').read_text().splitlines()[:-1]))),
    'holds neither images_background.zip nor': lambda folder: (
        folder / 'images_background.zip').unlink(),
    '0009_01.png is 28 x 28 pixels': _change(
        'images_evaluation.zip', {
            'images_evaluation/New/character09/0009_01.png': small_data.png(
                np.zeros((28, 28), bool))
        }),
    '0009_02.png is damaged': _change(
        'images_evaluation.zip',
        {'images_evaluation/New/character09/0009_02.png': b'\x89PNG no'}),
    '0009_04.png is damaged': _change(
        'images_evaluation.zip',
        {'images_evaluation/New/character09/0009_04.png': _claim(60_000)}),
    "vinyals_test.txt, line 9: 'Old\ufffd": _append('vinyals_test.txt',
                                                    'Old\xff\n'),
    '1 drawings of New/character09, not 20': _change(
        'images_evaluation.zip', {
            'images_evaluation/New/character09/0009_03.png': small_data.png(
                small_data.drawing(0, 0))
        }),
    'holds 3 characters: it must be the 2': _change(
        'images_evaluation.zip', {
            f'images_evaluation/New/character09/0009_{i:02d}.png':
                small_data.png(small_data.drawing(9, i)) for i in range(20)
        }),
}


@pytest.mark.parametrize('message', DAMAGES)
def test_what_is_damaged_is_named_in_one_line(message, tmp_path):
  folder = small_data.omniglot(tmp_path / 'omniglot')
  DAMAGES[message](folder)
  with pytest.raises(ValueError) as caught:
    small_data.load_omniglot(folder)
  assert message in str(caught.value) and '\n' not in str(caught.value)


def test_the_cached_file_is_used_and_mended(tmp_path, monkeypatch):
  folder = small_data.omniglot(tmp_path / 'omniglot')
  first = small_data.load_omniglot(folder)
  kept, = data_cache.cache_folder().glob('omniglot_*.npz')
  with monkeypatch.context() as patch:
    patch.setattr(omniglot_files, '_build', lambda *_: pytest.fail('read'))
    again = small_data.load_omniglot(folder)
  content = bytearray(kept.read_bytes())
  content[len(content) // 2] ^= 0xff
  kept.write_bytes(content)
  for other in (again, small_data.load_omniglot(folder)):
    np.testing.assert_array_equal(other['images'], first['images'])


def test_without_a_place_to_keep_it_all_works(arrays, tmp_path, monkeypatch):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  other = small_data.load_omniglot(small_data.omniglot(tmp_path / 'omniglot'))
  np.testing.assert_array_equal(other['images'], arrays['images'])


@pytest.fixture
def published(tmp_path):
  """Serves a small Omniglot; yields {file: (url, md5)}."""
  folder = small_data.omniglot(tmp_path / 'site')

  class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, **kwargs):
      super().__init__(*args, directory=str(folder), **kwargs)

    def log_message(self, *_):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {path.name: (f'http://127.0.0.1:{server.server_port}/{path.name}',
                       hashlib.md5(path.read_bytes()).hexdigest())
           for path in folder.iterdir()}
    server.shutdown()


def test_published_files_are_fetched_once(arrays, published):
  fetch = lambda urls: omniglot_files.load(
      '', small_data.NUM_CHARACTERS, urls)
  first = fetch(published)
  gone = {name: ('http://127.0.0.1:9/' + name, md5)
          for name, (_, md5) in published.items()}
  for arrays_ in (first, fetch(gone)):
    np.testing.assert_array_equal(arrays_['images'], arrays['images'])
    np.testing.assert_array_equal(arrays_['test'], arrays['test'])


def test_another_checksum_is_refused(published):
  url, _ = published['images_evaluation.zip']
  published['images_evaluation.zip'] = (url, 32 * '0')
  with pytest.raises(ValueError, match='has another checksum'):
    omniglot_files.load('', small_data.NUM_CHARACTERS, published)
  kept = data_cache.cache_folder() / 'omniglot'
  assert not (kept / 'images_evaluation.zip').exists()


def test_a_list_that_cannot_be_fetched_is_named_as_a_folder_has_it(published):
  _, md5 = published['vinyals_val.txt']
  published['vinyals_val.txt'] = ('http://127.0.0.1:9/val.txt', md5)
  with pytest.raises(ValueError, match='^vinyals_val.txt is not here'):
    omniglot_files.load('', small_data.NUM_CHARACTERS, published)


def test_offline_and_absent_is_one_line_with_the_ways_out():
  gone = {name: ('http://127.0.0.1:9/' + name, md5)
          for name, (_, md5) in omniglot_files.PUBLISHED.items()}
  with pytest.raises(ValueError) as caught:
    omniglot_files.load('', published=gone)
  text = str(caught.value)
  assert '\n' not in text and 'cannot be fetched' in text
  assert '--config.task.data_dir' in text and data_cache.VARIABLE in text
