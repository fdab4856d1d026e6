"""Adaptation years after programming: it depends on ages and on no date."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import maml
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.programming import refresh
from meta_analog.programming import verify_options
from meta_analog.programming import writing
from tests.helpers import small_networks as small

DAY_S, YEAR_S, NUM_EVENTS, NUM_CHIPS = 86400.0, 31536000.0, 3, 64
SCHEDULE = maml.Schedule(support_s=100.0, interval_s=20.0, query_s=251.0)
OPTIONS = verify_options.VerifyOptions(
    max_rounds=30, tolerance_uS=0.7, delay_s=0.25)
# Every pair is RESET and verified anew.
REWRITE = writing.verified(OPTIONS, writing.threshold_refresh(
    refresh.Threshold(level_uS=0.0, difference_uS=1e9), num_reads=16,
    fresh_share=0.65, num_levels=7), bidirectional=False)
WRITES = {'open loop': writing.open_loop(),
          'verified': writing.verified(OPTIONS, bidirectional=False),
          'rewrite': REWRITE}


def make(write, date, compensation='none', hidden_device=None):
  """Returns a learner that wants predictions at the query of this date."""
  factor = lambda age_s: (jnp.maximum(age_s, 1.0) / 38.6) ** 0.04
  hardware = chip.Hardware(
      *small.pcm_pair(), small.network(compensation=compensation, clock=factor),
      write_fn=WRITES[write], hidden_device=hidden_device,
      slow_noise=write == 'verified')
  return learner_lib.make(
      hardware, update_rules.make(
          rule='ridge', encoding='nearest', update_bits=4),
      learner_lib.Times(
          calibrate_s=40.0, write_delay_s=1.0, write_duration_s=11.0,
          settle_s=5.0, reference=clock.later(date, SCHEDULE.query_s)))


def samples():
  x = jnp.linspace(-1.0, 1.0, 10)[:, None]
  return types.Samples(x, 2.0 * jnp.sin(2.0 * x))


def adapted(learner, key, state, date):
  """Returns the outputs for the support set after all events of a date."""
  key_adapt, key_query = jax.random.split(key)
  state, info = maml.adapt(
      learner, key_adapt, state, samples(),
      SCHEDULE._replace(support_s=clock.later(date, SCHEDULE.support_s)),
      num_events=NUM_EVENTS)
  outputs, _ = learner.predict(
      key_query, state, samples().x, clock.later(date, SCHEDULE.query_s))
  return outputs, jnp.sum(info['write']['pulses'])


@functools.cache
def shifted(write, compensation):
  """Returns a function of the date that a chip is programmed at."""
  @jax.jit
  def run(date):
    learner = make(write, date, compensation)
    state = learner.init(jax.random.key(0), small.theta())
    state = state._replace(chip=state.chip._replace(
        start=clock.later(state.chip.start, date),
        times=tuple(clock.later(t, date) for t in state.chip.times)))
    return adapted(learner, jax.random.key(1), state, date)

  return run


@pytest.mark.parametrize('write, compensation', [
    ('open loop', 'clock'),
    pytest.param('verified', 'global', marks=pytest.mark.slow)])
@hypothesis.given(shift_s=st.integers(-315360000, 315360000))
def test_a_shift_of_all_dates_by_whole_seconds_changes_no_bit(
    write, compensation, shift_s):
  run = shifted(write, compensation)
  outputs, pulses = run(clock.exact(0.0))
  assert pulses > 0 and np.any(outputs != 0)
  found, found_pulses = run(clock.exact(float(shift_s)))
  np.testing.assert_array_equal(found, outputs)
  assert found_pulses == pulses


@hypothesis.given(shift_s=st.floats(-315360000.0, 315360000.0))
def test_a_shift_by_any_time_changes_no_more_than_rounding(shift_s):
  run = shifted('open loop', 'clock')
  np.testing.assert_allclose(
      run(clock.exact(shift_s))[0], run(clock.exact(0.0))[0], rtol=1e-3,
      atol=1e-3)


@jax.jit
def errors_of_chips(keys, date):
  """Returns the error of each of many chips adapted at a date.

  Hidden arrays do not drift and output pairs are RESET and verified anew, so
  that nothing of the years before is left.
  """
  learner = make('rewrite', date, hidden_device=small.ideal_pair()[0])

  def one_chip(key):
    key_init, key_adapt = jax.random.split(key)
    state = learner.init(key_init, small.theta())
    outputs, _ = adapted(learner, key_adapt, state, date)
    return jnp.mean(jnp.square(outputs - samples().y))

  return jax.vmap(one_chip)(keys)


@functools.cache
def errors(date_s):
  """Returns the errors of chips adapted at this date."""
  return np.asarray(errors_of_chips(
      jax.random.split(jax.random.key(0), NUM_CHIPS), clock.exact(date_s)))


@pytest.mark.parametrize('date_s', [
    DAY_S, pytest.param(YEAR_S, marks=pytest.mark.slow), 10 * YEAR_S])
def test_a_net_adapted_late_errs_as_one_adapted_at_once(date_s):
  now, then = errors(0.0), errors(date_s)
  error = np.sqrt((np.var(now) + np.var(then)) / NUM_CHIPS)
  assert abs(np.mean(then) - np.mean(now)) < 4.0 * error
  assert np.mean(then) < 0.5 * np.mean(np.square(samples().y))
