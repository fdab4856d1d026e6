"""Results of a run: their order, and what a figure that fails costs."""

import types

import jax
import numpy as np
import pytest

from meta_analog.core import errors
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import figure_data
from meta_analog.experiment import results
from meta_analog.experiment import run_record
from meta_analog.reporting import run_figures
from meta_analog.runtime import atomic_files


def test_a_figure_that_fails_is_a_warning(tmp_path, monkeypatch):
  drawn, log = [], []
  monkeypatch.setattr(figure_data.timeline, 'last_write_s', lambda _: 101.0)
  for name in ('training_curve', 'loss_over_time'):
    monkeypatch.setattr(
        run_figures, name, lambda path, *_: drawn.append(path.name))
  task = types.SimpleNamespace(dense=None, recall=len, image_shape=None)
  old = tmp_path / 'figures/conductances.png'
  old.parent.mkdir()
  old.write_text('of another time')
  figure_data.draw_all(
      None, types.SimpleNamespace(task=task), tmp_path, {'baselines': {}}, None,
      {'layer_0_target_uS': np.zeros(2)},  # not all of a chip
      (np.zeros(0), np.zeros(0)), None, log.append)
  assert drawn == ['training.png', 'loss_over_time.png']
  assert len(log) == 1 and 'conductances.png cannot be drawn' in log[0]
  assert not old.exists()


def test_the_summary_is_written_when_all_else_is_there(tmp_path, monkeypatch):
  written = []
  record = lambda path, _: written.append(path.name)
  monkeypatch.setattr(atomic_files, 'write_npz', record)
  monkeypatch.setattr(atomic_files, 'write_json', record)
  monkeypatch.setattr(
      run_record, 'finish', lambda folder, name, value: written.append(name))
  monkeypatch.setattr(
      results.meta_test_results, 'layout', lambda config, values: {})
  monkeypatch.setattr(figure_data, 'draw_all',
                      lambda *_: written.append('figures'))
  training = types.SimpleNamespace(num_steps=1, tasks_per_step=1)
  results.finish(
      types.SimpleNamespace(training=training), None, tmp_path, {}, {},
      (None, {'layer_0_adapted_uS': np.zeros((2, 1, 1, 1)),
              'layer_0_programmed_uS': np.zeros((2, 1, 1, 1)),
              'layer_0_gain_per_uS': 1.0}),
      jax.random.key(0), {'wall_s': 1.0},
      results.Compiled(None, lambda key: np.zeros(1), print), print)
  assert sorted(written[:3]) == [
      'chip.npz', 'evaluation.npz', 'parameters.npz']
  assert written[3:] == ['figures', 'summary.json']


@pytest.mark.parametrize('values, words', [
    ({'changed_outputs': 0.0}, ['changed no output']),
    ({'changed_outputs': 0.01}, []),
    ({}, ['changed no output']),  # a summary of before
    ({'after': {'mean': 2.0}}, []),
    ({'changed_outputs': 0.01, 'firing_rate_hz': [0.0, 5.0]},
     ['hidden layer 1 is dead'])])
def test_a_result_that_is_worth_nothing_says_why(monkeypatch, values, words):
  log = []
  monkeypatch.setattr(results.tables, 'table', lambda summary: 'table')
  results.report({'before': {'mean': 1.0}, 'after': {'mean': 1.0},
                  'firing_rate_hz': [5.0, 5.0]} | values, log.append)
  assert log[0] == 'table' and len(log) == 1 + len(words)
  for line, word in zip(log[1:], words):
    assert line.startswith('Warning: ') and word in line


def test_outputs_that_are_not_finite_are_no_result():
  outputs = np.zeros((2, 3))
  tested = types.SimpleNamespace(
      query_before=outputs, query_after=outputs.copy(), loss_all_steps=outputs)
  meta_testing._check_finite(tested)
  tested.query_after[1, 2] = np.nan
  with pytest.raises(errors.NonFiniteError, match='query_after .* 1 of 6'):
    meta_testing._check_finite(tested)
