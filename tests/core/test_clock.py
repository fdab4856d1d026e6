"""Dates in two words: exact splits, sums and differences, traced or not."""

import fractions

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock

YEAR_S = 31536000.0
# Ten years either side of 0, and steps of any size down to below a microsecond.
DATES = st.floats(-10 * YEAR_S, 10 * YEAR_S)
STEPS = st.one_of(st.floats(0.0, 100.0), st.floats(0.0, YEAR_S))
PART_S = 2.0 ** -23  # what a fraction may be rounded by, twice


def value(time):
  """Returns a date as an exact number."""
  return fractions.Fraction(int(time.whole_s)) + fractions.Fraction(
      float(time.part_s))


@hypothesis.given(seconds=DATES)
def test_a_date_keeps_what_float64_has_of_it(seconds):
  time = clock.exact(seconds)
  assert time.whole_s.dtype == np.int32 and time.part_s.dtype == np.float32
  assert 0.0 <= time.part_s < 1.0
  assert abs(value(time) - fractions.Fraction(seconds)) <= PART_S


@hypothesis.given(seconds=st.floats(-1e9, 1e9, width=32))
def test_a_traced_float32_is_split_without_a_loss(seconds):
  time = jax.jit(clock.exact)(jnp.float32(seconds))
  assert time.whole_s.dtype == jnp.int32 and time.part_s.dtype == jnp.float32
  assert 0.0 <= time.part_s < 1.0
  assert abs(value(time) - fractions.Fraction(seconds)) <= PART_S


def test_whole_numbers_beyond_float32_are_exact():
  whole = jnp.array([16777217, 2**31 - 1, -2**31 + 1], jnp.int32)
  for seconds in (whole, np.asarray(whole, np.float64)):
    time = jax.jit(clock.exact)(seconds) if seconds is whole else clock.exact(
        seconds)
    np.testing.assert_array_equal(time.whole_s, whole)
    np.testing.assert_array_equal(time.part_s, np.zeros(3))


@hypothesis.given(date=DATES, step=STEPS)
def test_the_time_from_a_date_to_a_later_one_is_the_step(date, step):
  begun = clock.exact(date)
  time = clock.later(begun, step)
  assert 0.0 <= time.part_s < 1.0
  found = clock.elapsed_s(time, begun)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, step, rtol=2e-7, atol=3 * PART_S)


@hypothesis.given(dates=st.tuples(DATES, DATES), shift=st.integers(
    -315360000, 315360000))
def test_a_shift_of_both_dates_by_whole_seconds_changes_no_bit(dates, shift):
  one, other = map(clock.exact, dates)
  np.testing.assert_array_equal(
      clock.elapsed_s(clock.later(one, shift), clock.later(other, shift)),
      clock.elapsed_s(one, other))


@hypothesis.given(date=DATES, steps=st.lists(
    st.floats(0.0, 1e3), min_size=1, max_size=8))
def test_steps_one_by_one_end_where_their_sum_does(date, steps):
  time = clock.exact(date)
  for step in steps:
    time = clock.later(time, step)
  error = value(time) - value(clock.exact(date)) - sum(
      map(fractions.Fraction, steps))
  assert abs(error) <= 2 * len(steps) * PART_S


def test_traced_steps_are_those_of_the_host():
  dates, steps = np.array([0.0, 100.3, 10 * YEAR_S + 0.7]), np.float32(
      [0.25, 0.35, 35.35])
  host = clock.later(dates, steps)
  for step in (jax.jit(clock.later), jax.vmap(clock.later)):
    traced = step(clock.exact(dates), jnp.asarray(steps))
    np.testing.assert_array_equal(traced.whole_s, host.whole_s)
    np.testing.assert_allclose(traced.part_s, host.part_s, atol=2 * PART_S)
  np.testing.assert_allclose(
      jax.vmap(clock.elapsed_s)(host, clock.exact(dates)), steps, rtol=1e-6)


def test_a_date_is_taken_as_it_is_and_starts_at_0():
  time = clock.exact(12.5)
  assert clock.exact(time) is time
  assert clock.elapsed_s(time, clock.START) == 12.5
  assert clock.exact(1.0 - 1e-12) == clock.exact(1.0)


@pytest.mark.parametrize(
    'seconds', [2.0**31, -2.0**31, float('inf'), float('nan')])
def test_dates_beyond_the_clock_are_refused(seconds):
  clock.exact(2.0**31 - 1.0)
  with pytest.raises(ValueError, match='less than 2147483648 s .68 years'):
    clock.exact(seconds)
