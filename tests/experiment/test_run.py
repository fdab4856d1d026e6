"""Whole tiny runs: what they leave behind, and what a second command does."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from tests.helpers import runs

FIGURES = ('training', 'adaptation', 'conductances', 'loss_over_time',
           'update_sizes')
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """All runs of this file share what they compile; the first begins cold."""
  return tmp_path_factory.mktemp('cache')


@pytest.fixture(scope='module')
def launch(cache):
  """`(*arguments, config) -> (exit code, stdout, stderr)` of a command."""
  launcher = runs.ForkLauncher(cache)
  yield lambda *arguments, config='pcm.py:tiny': runs.end(
      launcher.command(*_arguments(config), *arguments))
  launcher.close()


def _arguments(config):
  return ['--config', str(runs.ROOT / 'configs' / config)] if config else []


@pytest.fixture(scope='module')
def finished(cache, tmp_path_factory):
  """The workdir of a run in a process of its own, started as by a person."""
  workdir = tmp_path_factory.mktemp('runs') / 'pcm_tiny'
  code, _, stderr = runs.end(runs.Launcher(cache).command(
      *_arguments('pcm.py:tiny'), '--workdir', str(workdir)))
  assert code == 0, stderr
  return workdir


def test_a_run_leaves_all_its_files(finished):
  for name in ('config.json', 'summary.json', 'metrics.jsonl', 'chip.npz',
               'evaluation.npz', 'checkpoints', 'tensorboard'):
    assert (finished / name).exists(), name
  for name in FIGURES:
    assert (finished / 'figures' / f'{name}.png').stat().st_size > 5000, name


def test_the_summary_has_the_promised_fields(finished):
  summary = json.loads((finished / 'summary.json').read_text())
  assert summary['config'] == 'pcm' and summary['metric'] == 'mse'
  assert summary['num_tasks'] == 20 and summary['num_chips'] == 4
  for name in ('before', 'after', 'after_all_steps'):
    assert summary[name]['mean'] > 0 and summary[name]['ci95'] > 0
  assert set(summary['after_by_time_s']) == {
      '151', '251', '3600', '86400', '2592000', '31536000'}
  assert summary['after'] == summary['after_by_time_s']['251']
  assert {'predict_mean', 'best_linear_step', 'float_ridge'} <= set(
      summary['baselines'])
  assert len(summary['firing_rate_hz']) == 2
  assert summary['write']['events'] == 1
  assert {'steps', 'tasks_per_step', 'wall_s', 'tasks_per_s'} <= set(
      summary['training'])


def test_the_summary_can_be_computed_again_from_evaluation_npz(finished):
  summary = json.loads((finished / 'summary.json').read_text())
  data = np.load(finished / 'evaluation.npz')
  for name in ('support_x', 'support_y', 'query_x', 'query_y', 'query_before',
               'query_after'):
    assert data[name].shape == (20, 20), name
  before = np.square(data['query_before'] - data['query_y'])
  assert np.isclose(before.mean(), summary['before']['mean'], rtol=1e-5)
  error = np.square(data['query_after'] - data['query_y']).mean(1)
  assert np.isclose(error.mean(), summary['after']['mean'], rtol=1e-5)
  for i, time_s in enumerate(data['after_s']):
    late = np.square(
        data['query_after_by_time'][:, i, :, 0] - data['query_y'])
    assert np.isclose(late.mean(), summary['after_by_time_s'][
        f'{time_s:.12g}']['mean'], rtol=1e-5)
  chips = np.array([error[data['chip_index'] == c].mean() for c in range(4)])
  half = stats.t.ppf(0.975, 3) * chips.std(ddof=1) / 2
  assert np.isclose(half, summary['after']['ci95'], rtol=1e-4)
  amplitude, phase = data['latent_amplitude'], data['latent_phase']
  y = amplitude[:, None] * np.sin(5 * data['query_x'] + phase[:, None])
  assert np.allclose(y, data['query_y'], atol=1e-4)


def test_the_programmed_chip_is_in_range_and_counts_its_pulses(finished):
  chip = np.load(finished / 'chip.npz')
  for i in range(3):
    target = chip[f'layer_{i}_target_uS']
    assert target.shape[0] == 2
    assert target.min() >= 0.1 and target.max() <= 12.0
    assert chip[f'layer_{i}_programmed_uS'].shape == target.shape
  for i in range(2):  # hidden layers are not written
    assert not chip[f'layer_{i}_num_pulses'].any()
    assert np.array_equal(chip[f'layer_{i}_programmed_uS'],
                          chip[f'layer_{i}_adapted_uS'])


def test_metrics_have_a_rising_integer_step(finished):
  lines = [json.loads(line) for line in
           (finished / 'metrics.jsonl').read_text().splitlines()]
  steps = [line['step'] for line in lines]
  assert all(isinstance(step, int) for step in steps)
  assert steps == sorted(set(steps)) and steps[-1] == 6
  assert all(np.isfinite(line['loss']) for line in lines)


def test_the_same_command_on_a_finished_run_prints_its_summary(
    launch, finished):
  before = (finished / 'summary.json').read_bytes()
  code, stdout, stderr = launch('--workdir', str(finished))
  assert code == 0 and 'after adaptation' in stdout
  assert (finished / 'summary.json').read_bytes() == before


def test_another_config_in_the_same_workdir_is_refused(launch, finished):
  before = (finished / 'config.json').read_bytes()
  code, _, stderr = launch('--workdir', str(finished), '--config.seed=5')
  assert code == 2 and 'seed' in stderr
  assert len(stderr.splitlines()) == 1
  assert (finished / 'config.json').read_bytes() == before


def test_evaluate_needs_only_the_workdir_and_repeats_the_summary(
    launch, finished):
  before = (finished / 'summary.json').read_bytes()
  code, _, stderr = launch(
      '--mode=evaluate', '--workdir', str(finished), config=None)
  assert code == 0, stderr
  summary = json.loads(before)
  evaluation = json.loads((finished / 'evaluation.json').read_text())
  del summary['training'], evaluation['training']
  assert evaluation == summary  # to the last digit
  assert (finished / 'summary.json').read_bytes() == before


def test_evaluate_takes_overrides(launch, finished):
  code, _, stderr = launch(
      '--mode=evaluate', '--workdir', str(finished),
      '--config.evaluation.noise_scale=0', '--config.evaluation.num_tasks=8',
      config=None)
  assert code == 0, stderr
  path = max(finished.glob('evaluation*.json'),
             key=lambda path: path.stat().st_mtime_ns)
  assert json.loads(path.read_text())['num_tasks'] == 8


@pytest.mark.parametrize('arguments, config, word', [
    (('--config.training.num_step=3',), 'pcm.py:tiny', 'num_steps'),
    (('--config.training.num_steps=many',), 'pcm.py:tiny', 'num_steps'),
    (('--config.training.num_steps=-1',), 'pcm.py:tiny', 'num_steps'),
    (('--mode=guess',), 'pcm.py:tiny', 'mode'),
    ((), 'pcm.py:huge', 'huge'),
    ((), 'nothing.py', 'nothing.py'),
    (('--mode=evaluate', '--workdir=nowhere'), None, 'nowhere'),
    (('stray',), 'pcm.py:tiny', 'stray'),
])
def test_bad_input_gets_one_line_and_exit_code_2(
    launch, arguments, config, word, tmp_path):
  if not any('--workdir' in argument for argument in arguments):
    arguments += (f'--workdir={tmp_path / "run"}',)
  code, _, stderr = launch(*arguments, config=config)
  assert code == 2
  assert len(stderr.splitlines()) == 1 and word in stderr
  assert not (tmp_path / 'run').exists()


def test_a_workdir_that_is_a_file_is_refused(launch, tmp_path):
  file = tmp_path / 'file'
  file.write_text('precious')
  code, _, stderr = launch('--workdir', str(file))
  assert code == 2 and len(stderr.splitlines()) == 1
  assert file.read_text() == 'precious'


def test_a_run_that_stopped_goes_on_and_ends_the_same(
    launch, finished, tmp_path):
  workdir = tmp_path / 'stopped'
  shutil.copytree(finished, workdir)
  (workdir / 'summary.json').unlink()
  shutil.rmtree(workdir / 'checkpoints' / '6')
  code, stdout, stderr = launch('--workdir', str(workdir))
  assert code == 0, stderr
  assert 'Resuming from step 3' in stdout
  first, second = (json.loads((folder / 'summary.json').read_text())
                   for folder in (finished, workdir))
  del first['training'], second['training']
  assert first == second  # also though the first run had to compile all
  steps = [json.loads(line)['step'] for line in
           (workdir / 'metrics.jsonl').read_text().splitlines()]
  assert steps == sorted(set(steps)) and steps[-1] == 6
