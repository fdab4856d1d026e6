"""Runs from Python: what `load` returns of a folder, and what it refuses."""

import json

import jax
import ml_collections
import numpy as np
import pytest

from configs import pcm
import meta_analog
from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.experiment import api
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.training import meta_training

PARAMS = {'meta': {'log_rate': np.float32([1.0, 2.0]),
                   'log_harm': np.float32(0.5)},
          'meta/layer_0': {'u': np.float32([[3.0]])}}
SUMMARY = {'after': {'mean': 0.1}}


def _tiny(changes):
  c = pcm.get_config('tiny').unlock()
  c.update_from_flattened_dict({'network.hidden_sizes': (4,)} | changes)
  return c.lock()


def config():
  return _tiny({})


@pytest.fixture
def folder(tmp_path):
  """Returns a folder as a run leaves it, but for checkpoints."""
  atomic_files.write_json(tmp_path / 'config.json', workdir.as_json(config()))
  atomic_files.write_json(tmp_path / 'summary.json', SUMMARY)
  (tmp_path / 'metrics.jsonl').write_text(
      '{"step": 1, "loss": 2.0, "rate_Hz": [1, 2], "timing": {"wall_s": 1}}\n'
      '{"step": 3, "loss": null, "rate_Hz": [3, 4], "late": 5}\n{"step"')
  atomic_files.write_npz(tmp_path / 'evaluation.npz', {'a': np.arange(3)})
  atomic_files.write_npz(tmp_path / 'parameters.npz', {
      f'{module}:{name}': value for module, values in PARAMS.items()
      for name, value in values.items()})
  return tmp_path


def test_a_run_is_loaded_with_all_that_it_left(folder):
  run = meta_analog.load(str(folder))
  assert isinstance(run.config, ml_collections.ConfigDict)
  assert run.config.is_locked
  assert run.config.to_dict() == config().to_dict()
  assert run.summary == SUMMARY and run.folder == folder
  np.testing.assert_array_equal(run.evaluation['a'], [0, 1, 2])
  jax.tree.map(np.testing.assert_array_equal, run.params, PARAMS)


def test_metrics_are_arrays_over_the_logged_steps(folder):
  metrics = meta_analog.load(folder).metrics
  assert set(metrics) == {'step', 'loss', 'rate_Hz', 'late'}
  np.testing.assert_array_equal(metrics['step'], [1, 3])
  np.testing.assert_array_equal(metrics['loss'], [2.0, np.nan])
  np.testing.assert_array_equal(metrics['rate_Hz'], [[1, 2], [3, 4]])
  np.testing.assert_array_equal(metrics['late'], [np.nan, 5.0])


def test_an_evaluation_has_neither_metrics_nor_parameters(folder):
  (folder / 'metrics.jsonl').unlink()
  run = meta_analog.load(folder)
  assert run.metrics == {} and run.params is None
  np.testing.assert_array_equal(run.evaluation['a'], [0, 1, 2])


def test_a_config_without_younger_fields_is_loaded(folder):
  old = workdir.as_json(config())
  del old['noise'], old['network']['neuron']
  (folder / 'config.json').write_text(json.dumps(old))
  run = meta_analog.load(folder)
  assert run.config.noise.hidden_read == 1.0
  assert run.config.network.neuron == 'lif'


def test_without_a_file_parameters_come_from_the_checkpoint(folder):
  (folder / 'parameters.npz').unlink()
  with pytest.raises(errors.InputError, match='holds no checkpoint'):
    meta_analog.load(folder)
  state = jax.jit(meta_training.make(config(), build.build(config())).init)(
      jax.random.key(7))
  checkpoints.Checkpoints(folder / 'checkpoints').save(0, state, b'', {})
  jax.tree.map(np.testing.assert_array_equal, meta_analog.load(folder).params,
               state.params)


@pytest.mark.parametrize('name', [
    'config.json', 'summary.json', 'evaluation.npz', 'parameters.npz'])
@pytest.mark.parametrize('content', [None, b'', b'[1]', b'PK\x03\x04garbage'])
def test_what_is_missing_or_damaged_is_refused_in_a_line(
    folder, name, content):
  (folder / name).unlink()
  if content is not None:
    (folder / name).write_bytes(content)
  with pytest.raises(errors.InputError) as found:
    meta_analog.load(folder)
  message = str(found.value)
  assert '\n' not in message and str(folder) in message
  assert name in message


@pytest.mark.parametrize('text', ['3\n', '{"loss": [1]}\n{"loss": [1, 2]}\n'])
def test_damaged_metrics_are_refused(folder, text):
  (folder / 'metrics.jsonl').write_text(text)
  with pytest.raises(errors.InputError, match='metrics.jsonl is damaged'):
    meta_analog.load(folder)


def test_what_is_no_run_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match='there is no folder'):
    meta_analog.load(tmp_path / 'none')
  with pytest.raises(errors.InputError, match='holds no run'):
    meta_analog.load(tmp_path)


@pytest.mark.slow
def test_train_and_evaluate_return_what_they_left(tmp_path):
  c = _tiny({'training.num_steps': 2, 'evaluation.num_tasks': 4,
             'evaluation.num_chips': 2, 'evaluation.ordinary_steps': 2})
  run = meta_analog.train(c, tmp_path / 'run')
  assert run.summary['training']['steps'] == 2
  assert run.params['meta/layer_0']['u'].shape == (9, 4)
  again = meta_analog.evaluate(tmp_path / 'run', c, tmp_path / 'again')
  assert again.params is None
  for name, value in run.evaluation.items():
    np.testing.assert_array_equal(again.evaluation[name], value)
  assert isinstance(again, api.Run)
