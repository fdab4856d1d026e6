"""Evaluation: what it may be of, where it lies, and that nothing is lost."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest

from configs import pcm
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import run
from meta_analog.experiment import workdir
from meta_analog.reporting import run_figures
from meta_analog.runtime import atomic_files
from meta_analog.training import params_file


def tiny(**changes):
  c = pcm.get_config('tiny').unlock()
  c.update_from_flattened_dict({
      'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
      'training.num_steps': 1, 'training.tasks_per_step': 4,
      'evaluation.num_tasks': 4, 'evaluation.num_chips': 2,
      'evaluation.after_s': (251.0,), 'evaluation.ordinary_steps': 2} | changes)
  return c.lock()


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The folder of a finished run."""
  folder = tmp_path_factory.mktemp('runs') / 'trained'
  run.run(tiny(), str(folder))
  return folder


def summary_of(folder):
  return atomic_files.read_json(folder / 'summary.json')


@pytest.mark.slow
def test_evaluations_of_a_run_are_numbered_and_repeat_it(trained):
  before = {path: path.read_bytes() for path in trained.glob('*.*')
            if path.name != 'run.json'}
  first = run.run(tiny(), str(trained), 'evaluate')
  second = run.run(tiny(), str(trained), 'evaluate', source=str(trained))
  for name, found in (('evaluation.json', first),
                      ('evaluation_2.json', second)):
    written = atomic_files.read_json(trained / name)
    assert written == json.loads(json.dumps(found))
    del written['training']
    assert written == {name: value for name, value in summary_of(
        trained).items() if name != 'training'}
  assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_source_is_evaluated_into_a_folder_of_its_own(trained, tmp_path):
  arrays = np.load(trained / 'evaluation.npz')
  for source, params in ((trained, 'trained'),
                         (trained / params_file.FILE, 'file')):
    folder = tmp_path / params
    found = run.run(tiny(), str(folder), 'evaluate', source=str(source))
    assert found['of'] == evaluate.origin(source)
    assert found['of']['params'] == params
    assert found['after'] == summary_of(trained)['after']
    again = np.load(folder / 'evaluation.npz')
    for name in arrays.files:
      np.testing.assert_array_equal(again[name], arrays[name])
    assert evaluate.is_evaluation(folder)
  assert not evaluate.is_evaluation(trained)


@pytest.mark.slow
def test_the_untrained_network_and_other_conditions(trained, tmp_path):
  other = tiny(**{'evaluation.noise_scale': 0.5})
  initial = run.run(tiny(), str(tmp_path / 'a'), 'evaluate', source='initial')
  noisy = run.run(other, str(tmp_path / 'b'), 'evaluate', source=str(trained))
  assert initial['of'] == {'params': 'initial'}
  assert initial['training']['steps'] == 0
  means = {x['after']['mean'] for x in (initial, noisy, summary_of(trained))}
  assert len(means) == 3
  with pytest.raises(errors.InputError, match='holds a run'):
    run.run(tiny(), str(trained), 'evaluate', source='initial')


@pytest.fixture(scope='module')
def coarse(trained, tmp_path_factory):
  """Summary and output where no change is as large as a step of the ADC."""
  folder = tmp_path_factory.mktemp('runs') / 'coarse'
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    summary = run.run(tiny(**{'seed': 1, 'periphery.adc_bits': 3}), str(folder),
                      'evaluate', source=str(trained))
  return summary, printed.getvalue()


@pytest.mark.slow
def test_adaptation_below_a_step_of_the_adc_is_warned_of(trained, coarse):
  summary, printed = coarse
  assert summary['before'] == summary['after']
  assert summary['changed_outputs'] == 0.0
  assert printed.count('Warning: ') == 1
  assert 'Warning: adaptation changed no output' in printed
  assert 'periphery.adc_bits' in printed
  assert summary_of(trained)['changed_outputs'] > 0.5


@pytest.mark.slow
def test_every_baseline_is_measured_on_the_tasks_of_its_test(trained, coarse):
  first, second = summary_of(trained)['baselines'], coarse[0]['baselines']
  assert set(first) == set(second) == {
      'predict_mean', 'best_linear_step', 'float_ridge'}
  for name in first:  # on other tasks each is another
    assert first[name]['mean'] != second[name]['mean'], name
  arrays = np.load(trained / 'evaluation.npz')
  # The mean of A sin(x + phase), A from 0.1 to 5, phase from 0 to pi.
  mean = 2.55 * 2.0 / np.pi * np.cos(5.0 * arrays['query_x'])
  squares = np.square(arrays['query_y'] - mean)
  np.testing.assert_allclose(
      first['predict_mean']['mean'], squares.mean(), rtol=1e-4)


@pytest.mark.slow
def test_comparisons_of_energy_are_numbered(trained, monkeypatch):
  monkeypatch.setattr(evaluate.energy_comparison, 'run', lambda *_: [])
  drawn = []
  monkeypatch.setattr(
      run_figures, 'energy', lambda path, *_: drawn.append(path.name))
  for _ in range(2):
    run.run(tiny(), str(trained), 'energy')
  assert drawn == ['energy.png', 'energy_2.png']
  assert (trained / 'energy.json').is_file()
  assert (trained / 'energy_2.json').is_file()


@pytest.mark.slow
def test_parameters_that_are_not_finite_are_no_result(trained, tmp_path):
  with np.load(trained / params_file.FILE) as data:
    arrays = {name: np.full_like(x, np.nan) if name.endswith('u') else x
              for name, x in data.items()}
  np.savez(tmp_path / 'nan.npz', **arrays)
  with pytest.raises(errors.NonFiniteError, match='not finite'):
    run.run(tiny(), str(tmp_path / 'run'), 'evaluate',
            source=str(tmp_path / 'nan.npz'))
  assert not (tmp_path / 'run' / 'summary.json').exists()


@pytest.mark.slow
def test_a_source_of_another_network_is_refused_and_nothing_lost(
    trained, tmp_path):
  folder = tmp_path / 'evaluation'
  run.run(tiny(), str(folder), 'evaluate', source=str(trained))
  before = (folder / 'summary.json').read_bytes()
  with pytest.raises(errors.InputError, match='cannot be changed'):
    run.run(tiny(**{'network.hidden_sizes': (5,)}), str(folder), 'evaluate',
            source=str(trained))
  assert (folder / 'summary.json').read_bytes() == before
  stopped = tmp_path / 'stopped'
  shutil.copytree(trained, stopped)
  with pytest.raises(errors.InputError, match='train it to its end'):
    run.run(tiny(**{'training.num_steps': 2}), str(folder), 'evaluate',
            source=str(stopped))
  assert (folder / 'summary.json').read_bytes() == before


@pytest.mark.parametrize('name, message', [
    ('link.npz', 'is a link'), ('link', 'is a link'), ('none', 'no run'),
    ('none.npz', 'no such file'), ('empty', 'no run')])
def test_a_source_is_checked_before_anything_else(tmp_path, name, message):
  (tmp_path / 'net.npz').write_bytes(b'')
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'link.npz').symlink_to(tmp_path / 'net.npz')
  (tmp_path / 'link').symlink_to(tmp_path / 'empty')
  folder = tmp_path / 'workdir'
  with pytest.raises(errors.InputError, match=message) as found:
    run.run(tiny(), str(folder), 'evaluate', source=str(tmp_path / name))
  assert '\n' not in str(found.value)
  assert not folder.exists()
  evaluate.check_source('initial')
  evaluate.check_source(str(tmp_path / 'net.npz'))


@pytest.mark.parametrize('name', workdir.FOLDERS)
def test_a_link_in_the_workdir_is_refused(tmp_path, name):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / name).symlink_to(tmp_path)
  with pytest.raises(errors.InputError, match='is a link'):
    run.run(tiny(), str(tmp_path / 'run'))


def test_a_source_takes_the_mode_evaluate(tmp_path):
  with pytest.raises(errors.InputError, match='takes --mode=evaluate'):
    run.run(tiny(), str(tmp_path / 'x'), source='initial')
  with pytest.raises(errors.InputError, match='mode = .guess'):
    run.run(tiny(), str(tmp_path / 'x'), 'guess')
  assert not (tmp_path / 'x').exists()
