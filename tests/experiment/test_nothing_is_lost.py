"""Whole runs that are stopped, killed or cannot draw, and lose nothing."""

import os
import signal

from matplotlib import figure
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import results
from meta_analog.experiment import run
from meta_analog.reporting import run_figures
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import signals
from meta_analog.training import training_loop

pytestmark = pytest.mark.slow
# In the order in which a run writes them, once it is tested.
RESULTS = ('parameters.npz', 'evaluation.npz', 'chip.npz', 'training.png',
           'conductances.png', 'loss_over_time.png', 'adaptation.png',
           'update_sizes.png', 'run.json', 'summary.json')
PICTURES = [name for name in RESULTS if name.endswith('.png')]


class _Killed(BaseException):
  """Stands for SIGKILL."""


def _config():
  config = pcm.get_config('tiny').unlock()
  config.update_from_flattened_dict({
      'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
      'training.num_steps': 2, 'training.tasks_per_step': 4,
      'evaluation.num_tasks': 4, 'evaluation.num_chips': 2,
      'evaluation.after_s': (251.0,), 'evaluation.ordinary_steps': 2})
  return config.lock()


def _outcome(summary):
  """Returns a summary without what another command may differ in."""
  return {name: value for name, value in summary.items() if name != 'training'}


@pytest.fixture(scope='module')
def reference(tmp_path_factory):
  """The summary of a run that nothing befell; compiled once for all."""
  config, found = _config(), {}
  test_fn, update_fn = meta_testing.run, training_loop.compiled_update
  compiled = results.make(config, build.build(config))

  def tested(config, setup, params, *args):
    key = checkpoints.digest(params)
    if key not in found:
      found[key] = test_fn(config, setup, params, *args)
    return found[key]

  def updated(*args):
    if 'update' not in found:
      found['update'] = update_fn(*args)
    return found['update']

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(results, 'make', lambda *_: compiled)
    patch.setattr(meta_testing, 'run', tested)
    patch.setattr(training_loop, 'compiled_update', updated)
    yield run.run(config, str(tmp_path_factory.mktemp('runs') / 'reference'))


@pytest.fixture
def written(monkeypatch):
  """Names of the files that are written, to be killed after one of them."""
  names, kill_after = [], []
  replace, savefig = os.replace, figure.Figure.savefig

  def note(path):
    names.append(os.path.basename(path))
    if names[-1] in kill_after and RESULTS[0] in names:
      raise _Killed

  def replaced(source, target):
    replace(source, target)
    note(target)

  def saved(self, path, **options):
    savefig(self, path, **options)
    note(path)

  monkeypatch.setattr(os, 'replace', replaced)
  monkeypatch.setattr(figure.Figure, 'savefig', saved)
  return names, kill_after


def test_a_run_that_is_killed_between_its_files_is_finished_by_the_same_command(
    reference, written, tmp_path):
  names, kill_after = written
  for name in RESULTS[:-1]:
    names.clear()
    kill_after[:] = [name]
    with pytest.raises(_Killed):
      run.run(_config(), str(tmp_path))
    assert tuple(names[names.index(RESULTS[0]):]) == (
        RESULTS[:RESULTS.index(name) + 1])
  kill_after.clear()
  summary = run.run(_config(), str(tmp_path))
  assert tuple(names[-len(RESULTS):]) == RESULTS
  assert _outcome(summary) == _outcome(reference)
  names.clear()
  assert run.run(_config(), str(tmp_path)) == summary  # It is finished.
  assert 'summary.json' not in names


@pytest.mark.parametrize('name', ['[lr=0.1] *? ü/x[/x]', 'a\\b:/\udcff\n'])
def test_a_run_in_a_path_of_any_characters_is_stopped_resumed_and_evaluated(
    reference, name, tmp_path):
  folder, stop = tmp_path / name, signals.StopRequest()
  stop.signum = signal.SIGTERM
  with pytest.raises(errors.Interrupted, match='step 1 is saved'):
    run.run(_config(), str(folder), stop=stop)
  summary = run.run(_config(), str(folder))
  assert _outcome(summary) == _outcome(reference)
  assert _outcome(run.run(_config(), str(folder), 'evaluate')) == (
      _outcome(summary))
  other = run.run(_config(), str(folder / 'other'), 'evaluate',
                  source=str(folder))
  assert other['after'] == summary['after']


def test_figures_that_fail_cost_no_result(
    reference, tmp_path, monkeypatch, capsys):
  def fail(*args, **kwargs):
    raise MemoryError('no room')

  for name in ('training_curve', 'conductances', 'loss_over_time',
               'adaptation', 'update_sizes'):
    monkeypatch.setattr(run_figures, name, fail)
  summary = run.run(_config(), str(tmp_path))
  assert _outcome(summary) == _outcome(reference)
  assert atomic_files.read_json(tmp_path / 'summary.json') == summary
  warnings = [line for line in capsys.readouterr().out.splitlines()
              if line.startswith('Warning: ')]
  assert len(warnings) == len(PICTURES)
  for picture, line in zip(PICTURES, warnings):
    assert line.endswith(f'{picture} cannot be drawn: no room.')
