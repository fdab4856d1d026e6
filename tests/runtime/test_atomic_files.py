"""Files: JSON without NaN, arrays as long as they say, no pipe waited for."""

import io
import json
import os
import socket
import zipfile

import numpy as np
import pytest

from meta_analog.core import errors
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import environment
from meta_analog.runtime import metrics


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_no_json_file_holds_a_number_that_is_not_finite(tmp_path, value):
  path = tmp_path / 'summary.json'
  atomic_files.write_json(path, {'after': 1.0})
  with pytest.raises(errors.NonFiniteError, match=r'json: a.1.b = '):
    atomic_files.write_json(path, {'a': [0.0, {'b': value}], 'c': value})
  assert atomic_files.read_json(path) == {'after': 1.0}
  assert os.listdir(tmp_path) == ['summary.json']
  log = metrics.Metrics(tmp_path)
  with pytest.raises(errors.NonFiniteError, match='metrics.jsonl: loss = '):
    log.write(1, {'loss': np.float32(value)})
  assert log.content() == b''
  log.close()


@pytest.mark.parametrize('text', ['NaN', '-Infinity', '1e999', '[' * 100_000])
def test_a_number_that_is_not_finite_is_no_json(tmp_path, text):
  (tmp_path / 'file').write_text(text)
  with pytest.raises(errors.CorruptFileError, match='not JSON'):
    atomic_files.read_json(tmp_path / 'file')


def _make(kind, path):
  if kind == 'fifo':
    os.mkfifo(path)
  elif kind == 'folder':
    path.mkdir()
  else:
    with socket.socket(socket.AF_UNIX) as server:
      server.bind(str(path))


@pytest.mark.parametrize('kind', ['fifo', 'folder', 'socket'])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path, kind, monkeypatch):
  monkeypatch.chdir(tmp_path)  # a socket's path is short
  for name in ('config.json', 'summary.json', 'metrics.jsonl', 'run.json'):
    path = tmp_path.__class__(name)
    _make(kind, path)
    for read in (atomic_files.read_bytes, atomic_files.read_json,
                 atomic_files.read_npz):
      with pytest.raises(errors.CorruptFileError):
        read(path)
    with pytest.raises(errors.InputError, match='no regular file'):
      with workdir.locked(path.parent):
        pytest.fail('a run began')
    path.rmdir() if kind == 'folder' else path.unlink()


def _declares(shape):
  """Returns a .npz whose array of 8 bytes declares a shape."""
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
      header, {'descr': '<f8', 'fortran_order': False, 'shape': shape})
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('a.npy', header.getvalue() + bytes(8))
  return file.getvalue()


def test_an_array_that_declares_more_than_it_holds_takes_no_memory(tmp_path):
  path = tmp_path / 'file.npz'
  path.write_bytes(_declares((1,)))
  assert atomic_files.read_npz(path)['a'] == 0.0
  for shape in ((10**12,), (2,), (0,)):
    path.write_bytes(_declares(shape))
    with pytest.raises(errors.CorruptFileError, match='declares the shape'):
      atomic_files.read_npz(path)


def test_a_system_without_calls_of_linux_has_cores_and_space(
    tmp_path, monkeypatch):
  monkeypatch.delattr(os, 'sched_getaffinity')
  monkeypatch.delattr(os, 'posix_fallocate')
  assert environment.num_cores() >= 1
  atomic_files.require_space(tmp_path, 10**18)  # It cannot be asked.
  assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_never_named_again(tmp_path):
  for i in range(1, 5):
    name = 'energy.json' if i == 1 else f'energy_{i}.json'
    path = workdir.unused(tmp_path, 'energy.json')
    assert path == tmp_path / name
    if i == 3:
      path.symlink_to(tmp_path / 'nowhere')
    else:
      path.write_text(json.dumps(i))
