"""Benchmarks: timing, neurons and devices, the suite and its table."""

import json
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

from configs import pcm as pcm_config
from meta_analog.benchmarks import devices as device_benchmark
from meta_analog.benchmarks import lif as lif_benchmark
from meta_analog.benchmarks import numpy_reference
from meta_analog.benchmarks import suite
from meta_analog.benchmarks import table
from meta_analog.benchmarks import timing
from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.devices import pcm
from meta_analog.networks import lif
from meta_analog.networks import lif_fused

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('power', [0.0, 1.0, 2.05])
def test_the_slope_of_a_power_law_is_its_exponent(power):
  values = (50, 100, 400)
  taken = [3e-4 * value ** power for value in values]
  assert timing.slope(values, taken) == pytest.approx(power, abs=1e-9)


def test_functions_take_turns_each_after_a_call_that_is_not_counted():
  calls = []
  taken = timing.interleaved(
      {'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 3)
  assert ''.join(calls) == 'aabb' * 3
  assert {name: values.shape for name, values in taken.items()} == {
      'a': (3,), 'b': (3,)}


def test_seconds_are_those_until_the_arrays_are_there():
  assert timing.seconds(lambda: time.sleep(0.02)) >= 0.02


def test_the_ratio_is_the_median_of_the_rounds_ratios():
  reference, ours = np.array([2.0, 30.0, 4.0]), np.array([1.0, 1.0, 1.0])
  assert timing.ratio(reference, ours) == 4.0


@pytest.mark.parametrize('backend, chunk, expected', [
    ('cpu', 0, 4), ('gpu', 0, 8), ('gpu', 2, 2)])
def test_as_many_samples_come_together_as_suits_the_machine(
    backend, chunk, expected, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  assert lif_benchmark.chunk_of(lif_benchmark.Size(6, 8, 3, chunk)) == expected


def test_the_rate_of_products_is_that_of_a_machine(monkeypatch):
  products = timing.products(128)
  rate = products.rate(timing.interleaved(products.fns, 2))
  assert rate.shape == (2,) and np.all((1e7 < rate) & (rate < 1e16))
  # 4 products of 2 * 128^3 operations, on one device or on each.
  one, count = 4 * 2 * 128**3, jax.device_count()
  assert products.operations == {'product': one, 'products': count * one}
  mesh = sharding.mesh()
  monkeypatch.setattr(sharding, 'mesh', lambda: mesh)
  monkeypatch.setattr(timing.jax, 'device_count', lambda: 3)
  assert timing.products(128).operations['products'] == 3 * one


def test_of_two_ways_to_multiply_the_faster_counts_in_every_round():
  products = timing.Products({}, {'a': 6.0, 'b': 12.0})
  rate = products.rate({'a': np.array([1.0, 6.0]), 'b': np.array([4.0, 3.0])})
  np.testing.assert_array_equal(rate, [6.0, 4.0])


def test_every_form_of_the_neurons_has_the_same_gradient():
  size = lif_benchmark.Size(num_steps=12, num_samples=6, num_neurons=5, chunk=2)
  ours = lif_benchmark.make(size, lif_benchmark.counter(size,
                                                        lif_fused.activity),
                            2)()
  scan = lif_benchmark.make(size, lif_benchmark.counter(size, lif.activity),
                            6)()
  for a, b in zip(ours, scan):
    assert np.abs(b).max() > 0
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_peer_that_is_not_installed_is_said_not_to_be(monkeypatch):
  monkeypatch.setattr(lif_benchmark, 'PEERS', {'no_such_peer': None})
  out = lif_benchmark.measure(lif_benchmark.Size(6, 4, 3, 2), num_rounds=1)
  assert out['peers'] == {'no_such_peer': 'not installed'}
  assert min(out['ours_s'], out['scan_s'], out['ratio']) > 0


def test_numpy_devices_have_the_moments_of_ours():
  # 65,536 devices: a mean to 0.01 uS and a standard deviation to 1 %.
  shape, params = (256, 256), pcm.PCMParams()
  device, rng = pcm.make(max_pulses=1), np.random.default_rng(1)
  state = device.program(jax.random.key(0), jnp.zeros(shape))
  state = device.reset(
      jax.random.key(1), state, jnp.ones(shape, bool))
  array = numpy_reference.fresh(rng, params, shape)
  for i in range(3):
    state = device.pulse(jax.random.key(2 + i), state, jnp.ones(shape))
    array = numpy_reference.pulse(rng, params, array)
  ours = np.asarray(device.read(jax.random.key(9), state, 60.0))
  theirs = numpy_reference.read(rng, params, array, 60.0)
  assert abs(ours.mean() - theirs.mean()) < 6 * 0.01 * 1.5
  assert abs(ours.std() / theirs.std() - 1.0) < 0.03


def test_program_and_verify_ends_in_numpy_as_in_ours():
  out = device_benchmark.program_verify(size=32, num_rounds=1)
  assert out['converged'] > 0.99 < out['numpy_converged']
  # 1,024 pairs; pulses of a pair deviate by some 5.
  assert abs(out['pulses_per_pair'] - out['numpy_pulses_per_pair']) < 1.4


def test_pulses_and_reads_are_given_per_second():
  out = device_benchmark.rates(size=16, num_rounds=1)
  assert out['pulse_ratio'] == pytest.approx(
      out['pulses_per_s'] / out['numpy_pulses_per_s'])
  assert out['read_ratio'] == pytest.approx(
      out['reads_per_s'] / out['numpy_reads_per_s'])


def _result():
  step = {'tasks': 64, 'ours_s': 0.5, 'ratio': 2.0, 'peak_memory_bytes': 10,
          'peak_memory_bytes_by_tasks': {'64': 10}}
  out = {
      'config': 'pcm', 'quick': True,
      'machine': {'devices': 2, 'device_kinds': ['cpu'], 'cores': 2,
                  'cpu': 'Abacus', 'jax': jax.__version__, 'platform': 'cpu'},
      'cases': {}, 'curves': {}}
  for name, values in {
      'meta_step': step,
      'meta_step_noisy': step | {'ours_s': 0.75, 'noise_cost': 0.5},
      'lif': {'ratio': 2.5, 'peers': {'norse': 'not installed'}},
      'curves': {'width': {'values': [40, 80], 'seconds': [1.0, 4.0],
                           'slope': 2.0, 'device': 'pcm'}}}.items():
    suite.add(out, name, values)
  return out


def test_targets_are_met_or_not_and_not_measured_is_neither():
  found = _result()['targets']
  assert {path: goal['met'] for path, goal in found.items()
          if path.startswith(('cases.meta_step.ratio', 'cases.lif',
                              'curves'))} == {
      'cases.meta_step.ratio': False, 'cases.lif.ratio': True,
      'curves.width.slope': True}
  assert found['cases.meta_step_noisy.noise_cost']['value'] == 0.5
  assert 'cases.start.cold_s' not in found


def test_the_table_names_the_machine_and_what_is_required():
  out = _result()
  console = rich.console.Console(width=160)
  with console.capture() as capture:
    console.print(table.table(out))
  text = capture.get()
  for words in ('Abacus', 'at least 3', 'NOT met', 'not installed', '64 tasks',
                'a quick run: meta_step_ridge, evaluation, ensemble, start'):
    assert words in text, words
  assert 'two CPU cores' not in text
  out['machine'] |= {'device_kinds': ['NVIDIA H100'], 'platform': 'gpu'}
  with console.capture() as capture:
    console.print(table.table(out))
  for words in ('2 x NVIDIA H100', 'those of two CPU cores'):
    assert words in ' '.join(capture.get().split()), words


def test_what_was_measured_is_kept_when_the_rest_is_not(tmp_path, monkeypatch):
  def stop():
    raise KeyboardInterrupt

  monkeypatch.setattr(suite, 'step_cases', lambda *args: [
      ('meta_step', 'a step', lambda: {'ours_s': 0.5, 'ratio': 4.0})])
  monkeypatch.setattr(suite, 'other_cases', lambda *args: [
      ('lif', 'neurons', stop), ('curves', 'growth', stop)])
  with pytest.raises(KeyboardInterrupt):
    suite.run(pcm_config.get_config(), str(tmp_path), False)
  out = json.loads((tmp_path / 'benchmark.json').read_text())
  assert out['cases'] == {'meta_step': {'ours_s': 0.5, 'ratio': 4.0}}
  assert out['targets']['cases.meta_step.ratio']['met']
  assert out['unmeasured'] == ['lif', 'curves']


def test_a_folder_that_cannot_be_is_refused_before_anything_is_measured():
  with pytest.raises(errors.InputError, match='folder'):
    suite.run(pcm_config.get_config(), str(ROOT / 'README.md'), True)


@pytest.mark.slow
@pytest.mark.parametrize('arguments, word', [
    (('--config.adapt.num_stepz=2',), 'num_steps'),
    (('--quik',), 'quik'),
    (('--workdir', str(ROOT / 'README.md')), 'folder')])
def test_bad_flags_end_in_one_line_and_code_2(arguments, word, tmp_path):
  done = subprocess.run(
      [sys.executable, str(ROOT / 'launch/benchmark.py'), '--cache_dir=',
       *arguments], capture_output=True, text=True, check=False, timeout=120,
      cwd=tmp_path)
  assert done.returncode == 2
  assert len(done.stderr.splitlines()) == 1 and word in done.stderr
  assert not list(tmp_path.iterdir())
