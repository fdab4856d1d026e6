"""Chips whose reads share slow noise: layers, dates, writes, configs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from configs import perf
from meta_analog.config import defaults
from meta_analog.config import noise_sources
from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import slow_noise
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import update_rules
from meta_analog.networks import chip as chip_lib
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import verify_options
from meta_analog.programming import writing
from tests.helpers import small_networks as small
from tests.oracles import slow_noise as oracle

YEAR_S = oracle.YEAR_S
OPTIONS = verify_options.VerifyOptions(max_rounds=5, delay_s=0.25)
HARDWARE = chip_lib.Hardware(
    *small.pcm_pair(), small.network(fresh_share=0.0), slow_noise=True,
    write_fn=writing.verified(OPTIONS, bidirectional=False))


@functools.cache
def made():
  return jax.jit(lambda key: chip_lib.program_chip(
      key, HARDWARE, small.theta().layers, 40.0))(jax.random.key(0))


@functools.cache
def pairs_of_reads():
  """Returns a function to the weights of two reads, with as many keys."""
  def run(key, chip, dates):
    key_start, *keys = jax.random.split(key, 3)
    chip = chip._replace(crossbars=tuple(
        c._replace(slow=slow_noise.start(
            jax.random.fold_in(key_start, i), c.usage.num_pulses.shape))
        for i, c in enumerate(chip.crossbars)))
    weights = []
    for key, date in zip(keys, dates):
      readings, _, chip = chip_lib.read_layers(key, HARDWARE, chip, date)
      weights.append([layer.reading.weights for layer in readings])
    return weights

  return jax.jit(jax.vmap(run, (0, None, None)))


@pytest.mark.parametrize('age_s', [100.0, 10 * YEAR_S])
def test_forward_passes_of_every_layer_share_slow_noise(age_s):
  keys = jax.random.split(jax.random.key(1), 4000)
  first, second = pairs_of_reads()(
      keys, made(), (clock.exact(age_s), clock.exact(age_s + 20.0)))
  for one, other in zip(first, second):
    one, other = (x - np.mean(x, axis=0, keepdims=True) for x in map(
        np.asarray, (one, other)))
    share = np.mean(one * other, axis=0) / (
        np.std(one, axis=0) * np.std(other, axis=0))
    assert np.mean(share) == pytest.approx(
        oracle.of_parts(age_s + 10.0, 20.0), abs=0.03)


def test_dates_shift_nothing_but_rounding():
  dates = (clock.exact(100.0), clock.exact(120.35))
  later = clock.exact(10 * YEAR_S + 0.7)
  chip = made()
  shifted = chip._replace(
      start=clock.later(chip.start, later),
      times=tuple(clock.later(time, later) for time in chip.times))
  keys = lambda: jax.random.split(jax.random.key(1), 2)
  now = pairs_of_reads()(keys(), chip, dates)
  then = pairs_of_reads()(
      keys(), shifted, tuple(clock.later(date, later) for date in dates))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-4), now, then)


def test_an_event_leaves_the_noise_that_it_read():
  rule = update_rules.make(rule='delta', encoding='nearest', update_bits=4)
  learner = learner_lib.make(HARDWARE, rule, small.TIMES)
  x = jnp.linspace(-1.0, 1.0, 5)[:, None]
  support = types.Samples(x, jnp.sin(x))
  state, _ = jax.jit(learner.update)(
      jax.random.key(2), learner_lib.LearnerState(made(), small.theta().rule),
      support, clock.exact(100.0))
  for crossbar, time in zip(state.chip.crossbars[:-1], state.chip.times):
    assert float(clock.elapsed_s(time, state.chip.start)) == 100.0
    assert float(crossbar.slow.since_s) == 0.0
    assert float(crossbar.slow.age_s) == 100.0


def test_a_verification_goes_on_from_the_read_before_it(monkeypatch):
  device, model = small.pcm_pair()
  since_s, measure = [], controller.measure

  def recorded(key, device, crossbar, *options):
    since_s.append(crossbar.slow.since_s)
    return measure(key, device, crossbar, *options)

  monkeypatch.setattr(controller, 'measure', recorded)

  @jax.jit
  def run(crossbar):
    crossbar = array.advance(device, model, crossbar, 101.0)
    request = protocols.Request(
        jnp.ones(crossbar.usage.num_pulses.shape[2:]),
        lambda crossbar, delta_w: jnp.sign(delta_w), jnp.float32(50.0))
    written = HARDWARE.write_fn(
        jax.random.key(3), device, model, crossbar, request)
    return since_s[1], written.crossbar.slow.since_s

  second_s, last_s = run(made().crossbars[-1])
  assert float(second_s) == pytest.approx(0.35, abs=1e-6)
  assert float(last_s) == 0.0  # the last read ends it


def test_programming_by_reads_leaves_their_noise():
  device, model = small.pcm_pair()
  program_fn = initial_programming.verified_program(
      OPTIONS, 40.0, bidirectional=False, slow=True)
  crossbar, _ = jax.jit(lambda key: program_fn(
      key, device, model, jnp.full((2, 1, 3, 4), 2.0), 1.0))(jax.random.key(0))
  longest_s = verify_options.longest_s(OPTIONS)
  assert float(crossbar.slow.age_s) == pytest.approx(longest_s, abs=1e-5)
  assert float(crossbar.slow.since_s) < longest_s


@pytest.mark.parametrize('module,variant,expected', [
    (pcm, '', False), (pcm, 'closed_loop', True), (perf, '', False),
    (perf, 'four_events', True)])
def test_configs_of_several_events_have_slow_noise(module, variant, expected):
  config = module.get_config(variant)
  has = lambda: noise_sources.has_slow_noise(defaults.flat(config))
  assert has() == expected
  with config.unlocked():
    config.crossbar.slow_read_noise = False
  assert not has()


def test_a_chip_without_it_has_none():
  chip = jax.eval_shape(
      lambda key: chip_lib.program_chip(
          key, HARDWARE._replace(slow_noise=False), small.theta().layers, 40.0),
      jax.random.key(0))
  assert all(crossbar.slow is None for crossbar in chip.crossbars)
