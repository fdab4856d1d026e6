"""Single-bit flips over every kind of file: python -m pytest -m fuzz

A reader returns what was written, another finite value, or raises an error that
ends a command in one line; FUZZ_FLIPS and FUZZ_SEED change number and places.
"""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import api
from meta_analog.experiment import run_record
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import metrics
from meta_analog.tasks import data_cache
from meta_analog.training import params_file

NUM_FLIPS = int(os.environ.get('FUZZ_FLIPS', '1000'))  # of each kind of file
SEED = int(os.environ.get('FUZZ_SEED', '0'))
PARAMS = {'meta/layer_0': {'u': jnp.arange(12.0).reshape(3, 4)},
          'meta': {'log_rate': jnp.ones(2)}}
SUMMARY = {'after': {'mean': 0.125, 'ci95': 1e-05}, 'rates': [90.0, 85.5]}
LINES = [{'step': i, 'loss': 0.5 / i, 'timing': {}} for i in range(1, 5)]
KINDS = ('config.json', 'run.json', 'summary.json', 'metrics.jsonl',
         'parameters.npz', 'evaluation.npz', 'checkpoint', 'manifest', 'cache')
pytestmark = [pytest.mark.slow, pytest.mark.fuzz]


def _checked(folder):
  """Returns a config that passed the checks."""
  config = saved_config.get_config(str(folder))
  validation.check(config)
  return workdir.as_json(config)


@pytest.fixture
def folder(tmp_path):
  """A run's files, without a training."""
  atomic_files.write_json(
      tmp_path / 'config.json', workdir.as_json(pcm.get_config('tiny')))
  run_record.begin(tmp_path, {'seed': 0, 'jax': jax.__version__})
  run_record.finish(tmp_path, 'summary.json', SUMMARY)
  log = metrics.Metrics(tmp_path)
  for line in LINES:
    log.write(line['step'], {k: x for k, x in line.items() if k != 'step'})
  log.close()
  params_file.save(tmp_path / 'parameters.npz', PARAMS)
  atomic_files.write_npz(tmp_path / 'evaluation.npz', {
      'query_x': np.linspace(-1, 1, 20), 'task_index': np.arange(20)})
  checkpoints.Checkpoints(tmp_path / 'checkpoints').save(
      1, PARAMS, b'{}\n', {'config': {}, 'wall_s': 1.0})
  data_cache._save(tmp_path / 'cache', {'images': np.arange(200, dtype='u1')})
  return tmp_path


def _target(kind, folder):
  """Returns a file of a kind, and what reads it."""
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  restore = lambda: jax.tree.map(np.asarray, saved.restore(1, PARAMS).state)
  path = folder / kind
  if kind == 'checkpoint':
    path = max((folder / 'checkpoints/1/state').rglob('d/*'))
  elif kind == 'manifest':
    path = folder / 'checkpoints/1/manifest.json'
  return path, {
      'config.json': lambda: _checked(folder),
      'run.json': lambda: run_record.result(folder, 'summary.json'),
      'summary.json': lambda: run_record.result(folder, 'summary.json'),
      'metrics.jsonl': lambda: api._metrics(path),
      'parameters.npz': lambda: params_file.load(path, PARAMS),
      'evaluation.npz': lambda: atomic_files.read_npz(path),
      'checkpoint': restore, 'manifest': restore,
      'cache': lambda: data_cache._load(path)}[kind]


def _are_finite(value):
  """Returns whether all numbers are finite; a metric may lack a step."""
  return all(np.all(np.isfinite(x)) for x in jax.tree.leaves(value)
             if np.asarray(x).dtype.kind == 'f')


@pytest.mark.parametrize('kind', KINDS)
def test_a_flipped_bit_is_a_value_or_a_line(kind, folder):
  rng = np.random.default_rng([SEED, KINDS.index(kind)])
  path, read = _target(kind, folder)
  whole, flips = path.read_bytes(), {'same': 0, 'other': 0, 'refused': 0}
  expected = json.dumps(jax.tree.map(lambda x: np.asarray(x).tolist(), read()))
  for _ in range(NUM_FLIPS):
    place, bit = int(rng.integers(len(whole))), int(rng.integers(8))
    data = bytearray(whole)
    data[place] ^= 1 << bit
    path.write_bytes(data)
    try:
      found = read()
      assert kind == 'metrics.jsonl' or _are_finite(found), (place, bit)
      found = json.dumps(jax.tree.map(lambda x: np.asarray(x).tolist(), found))
      name = 'same' if found == expected else 'other'
      if found == 'null':  # a cache that is made anew
        name = 'refused'
      flips[name] += 1
    except (errors.RunError, errors.InputError) as error:
      assert len(str(error).splitlines()) == 1, (place, bit)
      flips['refused'] += 1
  print(f'{kind}: {flips}', flush=True)
  # The others have no digest that is read with them: of an array's directory in
  # evaluation.npz 2 in 1,000 flips change which arrays there are.
  if kind not in ('config.json', 'metrics.jsonl', 'evaluation.npz'):
    assert not flips['other']
