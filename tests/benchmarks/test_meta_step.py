"""The measured step of meta-training, and how its time grows."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from configs import perf as perf_config
from meta_analog.benchmarks import meta_step
from meta_analog.benchmarks import scaling
from meta_analog.benchmarks import suite
from meta_analog.benchmarks import timing
from meta_analog.config import validation
from meta_analog.learning import learner

SMALL = {'training__tasks_per_step': 4, 'training__tasks_per_chip': 2,
         'network__hidden_sizes': (4, 4), 'network__num_time_steps': 6,
         'network__input_channels': 1}


def test_work_is_counted_as_six_operations_a_weight_sample_and_step():
  # 2 tasks, 3 samples, 5 steps, 1 x 4 + 4 x 2 weights
  assert timing.operations(2, 3, 5, (1, 4, 2)) == 6 * 2 * 3 * 5 * (4 + 8)


def test_the_sizes_are_those_of_the_config():
  assert meta_step.sizes(pcm_config.get_config()) == (8, 40, 40, 1)


def test_a_cost_is_relative_and_the_median_of_rounds(monkeypatch):
  monkeypatch.setattr(timing, 'interleaved', lambda fns, num_rounds: {
      'without': np.array([1.0, 2.0, 4.0]), 'with': np.array([2.0, 3.0, 4.0])})
  assert meta_step.cost(None, None, 3) == 0.5


def test_the_noisy_step_says_what_its_noise_costs(monkeypatch):
  made = []

  def compare(config, *args, **kwargs):
    made.append(config.crossbar.fresh_read_share > 0)
    return {'ours_s': 1.0}, made[-1]

  monkeypatch.setattr(meta_step, 'compare', compare)
  monkeypatch.setattr(meta_step, 'fraction_random_numbers', lambda *args: 0.1)
  monkeypatch.setattr(meta_step, 'cost', lambda *fns_and_rounds: fns_and_rounds)
  out = {name: measure() for name, _, measure in suite.step_cases(
      pcm_config.get_config(), True)}
  assert made == [False, True]
  assert out['meta_step_noisy']['noise_cost'][:2] == (False, True)
  assert 'noise_cost' not in out['meta_step']


def test_programs_are_given_with_their_steps_in_order():
  step_fns = [lambda n=n: meta_step.Step(
      jax.jit(lambda: jnp.float32(n)).lower(), ((), {})) for n in range(4)]
  made = meta_step.compile_all(step_fns)
  assert [meta_step.call(*one)() for one in made] == [0, 1, 2, 3]


def test_without_read_noise_is_without_any():
  config = meta_step.step_config(
      pcm_config.get_config(), noisy=False, adapt__rule='delta')
  params = config.device_params.pcm
  assert config.crossbar.fresh_read_share == params.m3 == params.c3_uS == 0
  assert config.adapt.rule == 'delta'
  noisy = meta_step.step_config(pcm_config.get_config(), noisy=True)
  assert noisy.crossbar.fresh_read_share > 0 < noisy.device_params.pcm.m3


def test_as_many_values_are_drawn_as_the_reads_of_a_step_draw():
  config = meta_step.step_config(
      pcm_config.get_config(), noisy=True, task__support_size=3,
      task__query_size=2, **SMALL)
  # Six steps, half of five samples; the rows of the weights hold a bias.
  assert meta_step.draw_shapes(config) == [
      (6, 3, 4), (6, 3, 4), (6, 3, 1), (2, 4), (5, 4), (5, 1)]
  drawn = np.asarray(meta_step.draws(config)())
  # Two forward passes of each of 4 tasks give 6 values each; none comes twice.
  assert drawn.shape == (4,) and len({*drawn}) == 4
  assert 0.3 < np.std(drawn) / np.sqrt(12) < 3


@pytest.fixture(name='config', scope='module')
def _config():
  return meta_step.step_config(
      perf_config.get_config(), noisy=False, adapt__rule='delta', **SMALL)


@pytest.fixture(name='step', scope='module')
def _step(config):
  """Returns one step, traced once for all tests."""
  return meta_step.make_step(config)


def test_the_step_that_is_measured_has_full_noise(step):
  _, info = meta_step.call(step, step.lowered.compile())()
  assert info['noise_scale'] == 1.0 and info['finite'].all()


@pytest.fixture(name='asked')
def _asked(step, monkeypatch):
  """Returns what steps are asked for, as times that are given are taken."""
  asked = []

  def make_step(config, learner_fn=None):
    c = config.training
    asked.append((c.tasks_per_step, learner_fn, c.chips_per_chunk,
                  c.tasks_at_once))
    return step

  monkeypatch.setattr(meta_step, 'make_step', make_step)
  monkeypatch.setattr(meta_step.jax, 'device_count', lambda: 1)
  taken = {'ours': [1.0, 2.0, 4.0], 'textbook': [6.0, 6.0, 6.0],
           'same_chunks': [2.0, 2.0, 2.0], 'product': [1.0, 4.0, 2.0]}
  monkeypatch.setattr(timing, 'products', lambda: timing.Products(
      {'product': None}, {'product': 1e6}))
  monkeypatch.setattr(timing, 'interleaved', lambda fns, num_rounds: {
      name: np.array(taken[name]) for name in fns})
  return asked


def test_the_numbers_of_a_step_have_their_layout(config, asked):
  out, step_fn = meta_step.compare(
      config, learner.make, num_rounds=3, tasks_of_memory=(8,))
  assert step_fn()[1]['loss'] > 0
  assert asked == [(4, None, 0, 0), (4, learner.make, 2, 2),
                   (4, learner.make, 0, 0), (8, None, 0, 0)]
  asked.clear()
  alone, _ = meta_step.compare(
      meta_step.whole(config), learner.make, num_rounds=1, tasks_of_memory=())
  assert asked == [(4, None, 2, 2), (4, learner.make, 2, 2)]
  assert alone['ratio_same_chunks'] == alone['ratio']  # one measurement
  asked.clear()
  quick, _ = meta_step.compare(
      config, learner.make, num_rounds=1, tasks_of_memory=(), quick=True)
  assert asked == [(4, None, 0, 0), (4, learner.make, 2, 2)]
  assert set(out) - set(quick) == {'compile_s', 'ratio_same_chunks'}
  assert out['compile_s'] > 0
  assert (out['ours_s'], out['textbook_s'], out['ratio'],
          out['ratio_same_chunks']) == (1.0, 6.0, 3.0, 1.0)
  assert out['operations'] == 6 * 4 * 40 * 6 * (4 + 16 + 4)
  # Of each round against its own rate: 1, 2 and 1/2 of operations / 1e6.
  assert out['matmul_flops'] == 1e6
  assert out['fraction_of_matmul_rate'] == pytest.approx(
      out['operations'] / 1e6)
  assert out['peak_memory_bytes_by_tasks'] == {
      '4': out['peak_memory_bytes'], '8': out['peak_memory_bytes']}
  json.dumps(out)


def test_a_curve_has_its_values_seconds_and_slope(config, step, monkeypatch):
  asked = []

  def make_step(config):
    c = config.training
    asked.append((c.tasks_per_step, c.tasks_per_chip, config.adapt.num_steps,
                  config.network.num_time_steps, config.network.hidden_sizes))
    return step

  monkeypatch.setattr(meta_step, 'make_step', make_step)
  out = scaling.measure(config, {
      'tasks': (64, 128), 'inner_steps': (1, 2), 'width': (40, 80),
      'time_steps': (50, 100), 'chips': (64, 128)}, num_rounds=1)
  # What axes share is made once.
  assert asked == [
      (64, 4, 1, 50, (40, 40)), (128, 4, 1, 50, (40, 40)),
      (64, 4, 2, 50, (40, 40)), (64, 4, 1, 50, (80, 80)),
      (64, 4, 1, 100, (40, 40)), (64, 1, 1, 50, (40, 40)),
      (128, 1, 1, 50, (40, 40))]
  assert out['inner_steps']['values'] == [1, 2]
  assert min(out['inner_steps']['seconds']) > 0
  assert np.isfinite(out['inner_steps']['slope'])


@pytest.mark.parametrize('axes, changes', [
    (scaling.AXES, {}), (scaling.QUICK_AXES, scaling.QUICK_CHANGES)])
def test_every_point_of_every_curve_is_a_config(axes, changes):
  assert set(axes) == set(scaling.AXES)
  for axis, values in axes.items():
    for value in values:
      validation.check(meta_step.step_config(
          pcm_config.get_config(), noisy=False,
          **scaling.fields(axis, value) | changes))
