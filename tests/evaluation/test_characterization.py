"""Characterisation, against tables, closed forms and oracles."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog.core import errors
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.devices import registry as device_registry
from meta_analog.evaluation import characterization
from meta_analog.reporting import device_figures
from meta_analog.reporting import tables
from tests.oracles import device as oracle

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
N = characterization.NUM_DEVICES
MEASUREMENTS = {
    'set_pulses': {'num_pulses', 'mean_uS', 'std_uS'},
    'drift': {'time_s', 'relative'},
    'read_noise': {'g_uS', 'std_uS'},
    'program': {'target_uS', 'mean_uS', 'std_uS'}}


@pytest.fixture(scope='module')
def published():
  """The published model on 10^5 devices, and the default spreads beside it."""
  return characterization.characterize('pcm', pcm.PCMParams(), seed=0)


@pytest.fixture(scope='module', params=sorted(device_registry.FAMILIES))
def small(request):
  """Every family, on a few devices where it is not measured anyway."""
  if request.param == 'pcm':
    return request.getfixturevalue('published')
  params = device_registry.FAMILIES[request.param].params()
  return characterization.characterize(
      request.param, params, seed=1, num_devices=500)


def _assert_within_5_errors(data, mean, std, kurtosis=3.0):
  """Asserts the moments of 10^5 devices; wide tails make a larger error."""
  std = np.asarray(std)
  error = std / np.sqrt(N)
  np.testing.assert_array_less(np.abs(data['mean_uS'] - mean), 5 * error)
  np.testing.assert_array_less(
      np.abs(data['std_uS'] - std), 5 * error * np.sqrt((kurtosis - 1) / 4))


def _assert_keys(result):
  for name, fields in MEASUREMENTS.items():
    for suffix in ('', '_with_spread'):
      assert fields <= set(result[name + suffix]), name
      for field in fields:
        assert np.all(np.isfinite(result[name + suffix][field]))
  assert {'device', 'params', 'spreads', 'num_devices', 'seed'} <= set(result)


def test_set_pulses_are_the_reference_table(published):
  table = oracle.reference_table('nandakumar2018_set_pulses.csv')
  if table is None:
    pytest.skip('no reference tables on this machine')
  for name, g_max in (('set_pulses', 12), ('set_pulses_published', 20)):
    data = published[name]
    np.testing.assert_array_equal(data['num_pulses'], table['num_pulses'])
    _assert_within_5_errors(data, table[f'mean_uS_gmax{g_max}'],
                            table[f'std_uS_gmax{g_max}'])


def test_set_pulses_are_the_exact_moments_within_the_bounds(published):
  for name, g_max in (('set_pulses', 12.0), ('set_pulses_published', 20.0)):
    mean, std = oracle.clipped_moments(20, g_max, num_cells=600).T
    _assert_within_5_errors(published[name], mean, std)


def test_the_drawn_points_are_those_of_the_model(published):
  # Digitised to 0.05 uS, from a figure of unknown sample size; the largest
  # difference is 0.125 uS, in the mean after 16 pulses.
  data = published['set_pulses_published']
  for count, moments in device_figures.PUBLISHED_PULSES.items():
    i = round(count) - 1
    model = data['mean_uS'][i], data['std_uS'][i]
    np.testing.assert_allclose(model, moments, atol=0.15)
  for time_s, relative in device_figures.PUBLISHED_DRIFT.items():
    np.testing.assert_allclose((time_s / 38.6) ** -0.04, relative, atol=1e-5)
  slope, offset = device_figures.PUBLISHED_READ
  assert slope * 10 + offset == oracle.read_sigma(10)


def test_drift_is_the_power_law(published):
  data = published['drift']
  time_s = np.array(data['time_s'])
  assert {1.0, 10.0, 38.6, 100.0, 1e3, 1e4, 1e5, 1e6} <= set(time_s)
  np.testing.assert_allclose(
      data['relative'], (time_s / 38.6) ** -0.04, rtol=2e-5)
  assert data['relative'][list(time_s).index(38.6)] == 1.0


def test_drift_with_spread_is_the_mean_over_the_exponents(published):
  # E[exp(-nu L)] of a Gaussian nu; correlated with nothing else.
  data = published['drift_with_spread']
  log = np.log(np.array(data['time_s']) / 38.6)
  expected = np.exp(-0.04 * log + 0.5 * (0.01 * log) ** 2)
  error = expected * np.abs(0.01 * log) * 1.1 / np.sqrt(N)
  assert np.all(np.abs(data['relative'] - expected) <= 5 * error + 2e-5)
  # Programming to 6.05 uS; at T0 nothing else spreads.
  at_t0 = list(data['time_s']).index(38.6)
  np.testing.assert_allclose(data['relative_std'][at_t0],
                             oracle.program_sigma(6.05) / 6.05, rtol=0.012)
  gap = np.abs(expected / published['drift']['relative'] - 1)
  assert gap[-1] > 0.01  # so the test above sees the spread


@pytest.mark.parametrize('suffix', ['', '_with_spread'])
def test_read_noise_is_the_published_line(published, suffix):
  data = published['read_noise' + suffix]
  g_uS = np.array(data['g_uS'])
  np.testing.assert_allclose(g_uS, np.linspace(0.1, 12, 13), rtol=1e-5)
  expected = oracle.read_sigma(g_uS)
  error = np.abs(data['std_uS'] - expected)
  assert np.all(error < 5 * expected / np.sqrt(2 * N))


@pytest.mark.parametrize('suffix', ['', '_with_spread'])
def test_programming_has_its_published_std(published, suffix):
  data = published['program' + suffix]
  target = np.array(data['target_uS'])
  high = target > 3.5  # below, the lower bound cuts the distribution
  assert high.sum() >= 5
  kept = {name: np.array(data[name])[high] for name in ('mean_uS', 'std_uS')}
  _assert_within_5_errors(
      kept, target[high], oracle.program_sigma(target[high]))


def test_only_the_measurements_with_spread_have_the_spreads(monkeypatch):
  monkeypatch.setattr(
      characterization, 'measure', lambda key, name, params, n: {
          'x': params, 'key': jax.random.key_data(key).tolist()})
  monkeypatch.setattr(characterization, 'pulses', lambda *_: {})
  params = pcm.PCMParams(step_std=0.5, nu_std=0.02, m1=-0.1)
  result = characterization.characterize('pcm', params, 0, num_devices=10)
  assert result['spreads'] == {'nu_std': 0.02, 'step_std': 0.5}
  assert result['x'] == params._replace(nu_std=0.0, step_std=0.0)
  assert result['x_with_spread'] == params
  other = characterization.characterize('pcm', params, 1, num_devices=10)
  keys = [r[name] for r in (result, other) for name in ('key',
                                                        'key_with_spread')]
  assert len({tuple(key) for key in keys}) == 4


def test_every_family_is_characterised_and_drawn(small, tmp_path):
  _assert_keys(small)
  assert small['set_pulses']['num_pulses'] == list(range(1, 21))
  relative = small['drift']['relative']
  first = small['drift']['time_s'].index(small['drift']['reference_s'])
  assert relative[first] == 1.0
  assert len(small['drift']['relative_std']) == len(relative)
  assert json.loads(json.dumps(small)) == small
  path = tmp_path / 'figure.png'
  device_figures.characterization(path, small)
  assert path.stat().st_size > 20_000
  tables.device_table(small)


def test_an_ideal_device_takes_its_step_up_and_down():
  params = ideal.IdealParams(step_uS=0.5)
  result = characterization.characterize('ideal', params, 0, num_devices=10)
  data = result['set_pulses']
  np.testing.assert_allclose(data['mean_uS'], 0.5 * np.arange(1, 21))
  np.testing.assert_allclose(data['down_mean_uS'], 10 - np.array(
      data['mean_uS']))
  assert not any(data['std_uS']) and not any(result['read_noise']['std_uS'])
  assert set(result['drift']['relative']) == {1.0}
  assert 'set_pulses_published' not in result


def test_a_device_that_only_rises_has_no_way_down(published):
  assert 'down_mean_uS' not in published['set_pulses']


def test_the_seed_decides_the_draws():
  run = lambda seed: characterization.program(
      jax.random.key(seed), pcm.make(), characterization.Range(0.1, 12.0, 1.0),
      100)
  assert run(0) == run(0) and run(0) != run(1)


@pytest.mark.parametrize('field, value', [
    ('device', 'flash'), ('device_params.pcm.t0_s', 0.0)])
def test_a_config_that_cannot_be_is_refused(field, value, tmp_path):
  config = pcm_config.get_config()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(errors.InputError, match=field.split('.')[-1]):
    characterization.run(config, str(tmp_path / 'new'))
  assert not (tmp_path / 'new').exists()


def _launch(*arguments, cwd):
  command = [sys.executable, str(ROOT / 'launch/characterize.py'), '--config',
             str(ROOT / 'configs/pcm.py'), '--cache_dir=', *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False,
                        timeout=300, cwd=cwd)


def test_a_figure_that_fails_costs_no_measurement(
    tmp_path, monkeypatch, capsys):
  def fail(path, result):
    raise ZeroDivisionError('no axis')

  monkeypatch.setattr(
      characterization, 'characterize', lambda *_: {'device': 'pcm'})
  monkeypatch.setattr(device_figures, 'characterization', fail)
  monkeypatch.setattr(tables, 'device_table', lambda found: 'the table')
  characterization.run(pcm_config.get_config(), str(tmp_path))
  assert [path.name for path in tmp_path.iterdir()] == ['characterization.json']
  printed = capsys.readouterr().out
  assert 'characterization.png cannot be drawn: no axis.' in printed
  assert 'the table' in printed and '.json and' not in printed


@pytest.mark.slow
def test_the_command_leaves_its_file_and_figure_by_default_in_runs(tmp_path):
  done = _launch('--config.device=ideal', '--config.seed=7', cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert 'after 20 SET pulses' in done.stdout and '20.000' in done.stdout
  folder = tmp_path / 'runs' / 'ideal_characterization'
  result = json.loads((folder / 'characterization.json').read_text())
  _assert_keys(result)
  assert (result['device'], result['num_devices'], result['seed']) == (
      'ideal', 100_000, 7)
  assert result['params'] == ideal.IdealParams()._asdict()
  assert result['versions']['jax'] == jax.__version__
  assert (folder / 'characterization.png').stat().st_size > 20_000


@pytest.mark.slow
@pytest.mark.parametrize('arguments, word', [
    (('--config.device=flash',), 'pcm'),
    (('--workdir', str(ROOT / 'README.md')), 'folder'),
    (('--mode=evaluate', '--workdir', 'x'), 'mode')])
def test_bad_input_ends_in_one_line_and_code_2(arguments, word, tmp_path):
  done = _launch(*arguments, cwd=tmp_path)
  assert done.returncode == 2
  assert len(done.stderr.splitlines()) == 1 and word in done.stderr
  assert not list(tmp_path.iterdir())
