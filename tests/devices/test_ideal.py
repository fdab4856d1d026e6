"""The ideal device: exact, bidirectional, bounded, and nothing else."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.devices import ideal

SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.0, 25.0, width=32)
COUNT = st.integers(-40, 40)
DEVICE = ideal.make()


def _key(seed=0):
  return jax.random.key(seed)


def _program(target_uS):
  return DEVICE.program(_key(), jnp.asarray(target_uS, jnp.float32))


@hypothesis.given(g=G, seed=SEED, time=st.floats(0.0, 1e9, width=32))
def test_any_read_at_any_time_returns_the_target(g, seed, time):
  state = _program([g, g, g])
  g_uS = DEVICE.read(_key(seed), state, time)
  np.testing.assert_array_equal(g_uS, np.full(3, g, np.float32))
  mean, sigma = DEVICE.read_stats(state, time)
  np.testing.assert_array_equal(mean, g_uS)
  np.testing.assert_array_equal(sigma, np.zeros(3))


@hypothesis.given(scale=st.floats(0.0, 1e3, width=32), seed=SEED)
def test_noise_scale_has_nothing_to_scale(scale, seed):
  device = ideal.make(ideal.IdealParams(noise_scale=scale))
  state = device.program(_key(seed), jnp.full(3, 5.0))
  state = device.pulse(_key(seed + 1), state, jnp.full(3, 2.0))
  g_uS = device.read(_key(seed + 2), state, 2.0)
  np.testing.assert_array_equal(g_uS, np.full(3, 7.0))


def test_targets_outside_the_range_are_limited():
  state = _program([-1.0, 3.0, 26.0])
  np.testing.assert_array_equal(state.g_uS, [0.0, 3.0, 25.0])


@hypothesis.given(g=G, counts=st.tuples(COUNT, COUNT, COUNT))
def test_each_pulse_adds_its_step_within_the_bounds(g, counts):
  state = DEVICE.pulse(
      _key(), _program([g, g, g]), jnp.array(counts, jnp.float32))
  expected = np.clip(np.float32(g) + np.float32(counts), 0.0, 25.0)
  np.testing.assert_allclose(state.g_uS, expected, rtol=1e-6)
  np.testing.assert_array_equal(state.num_pulses, np.abs(counts))


def test_the_pulse_counter_adds_up_pulses_of_either_sign():
  state = _program([5.0, 5.0, 5.0])
  for counts in ([1.0, -2.0, 0.0], [3.0, 1.0, 0.0]):
    state = DEVICE.pulse(_key(), state, jnp.array(counts))
  np.testing.assert_array_equal(state.num_pulses, [4.0, 3.0, 0.0])
  np.testing.assert_array_equal(state.g_uS, [9.0, 4.0, 5.0])


@hypothesis.given(g=st.floats(10.0, 15.0, width=32), n=st.integers(0, 9))
def test_equal_pulses_of_both_signs_cancel(g, n):
  count = jnp.full(3, float(n))
  state = DEVICE.pulse(_key(), _program([g, g, g]), count)
  state = DEVICE.pulse(_key(1), state, -count)
  np.testing.assert_allclose(state.g_uS, np.full(3, g), rtol=1e-6)


def test_parameters_set_the_range_and_the_step():
  device = ideal.make(
      ideal.IdealParams(g_min_uS=-2.0, g_max_uS=3.0, step_uS=0.25))
  state = device.program(_key(), jnp.array([-9.0, 1.0, 9.0]))
  np.testing.assert_array_equal(state.g_uS, [-2.0, 1.0, 3.0])
  state = device.pulse(_key(), state, jnp.array([4.0, 4.0, -4.0]))
  np.testing.assert_array_equal(state.g_uS, [-1.0, 2.0, 2.0])


def test_reset_returns_to_the_lower_bound_where_masked():
  state = DEVICE.pulse(_key(), _program([5.0, 6.0, 7.0]), jnp.ones(3))
  state = DEVICE.reset(_key(1), state, jnp.array([True, False, True]))
  np.testing.assert_array_equal(state.g_uS, [0.0, 7.0, 0.0])
  np.testing.assert_array_equal(state.num_pulses, [0.0, 1.0, 0.0])


def test_gradient_to_the_pulses_is_the_step_inside_the_bounds_only():
  run = lambda count: jnp.sum(DEVICE.pulse(
      _key(), _program([5.0, 24.0, 25.0, 1.0]), count).g_uS)
  slope = jax.grad(run)(jnp.array([2.0, 1.0, 1.0, -3.0]))
  np.testing.assert_array_equal(slope, [1.0, 1.0, 0.0, 0.0])


def test_gradient_to_the_target_is_one_up_to_the_bounds():
  slope = jax.grad(lambda target: jnp.sum(_program(target).g_uS))(
      jnp.array([-1.0, 0.0, 5.0, 25.0, 26.0]))
  np.testing.assert_array_equal(slope, [0.0, 1.0, 1.0, 1.0, 0.0])


def test_read_and_read_stats_differentiate_as_the_identity():
  state = _program([0.0, 5.0, 25.0])
  read = lambda g: jnp.sum(DEVICE.read(_key(), state._replace(g_uS=g), 9.0))
  stats = lambda g: jnp.sum(DEVICE.read_stats(state._replace(g_uS=g), 9.0)[0])
  for run in (read, stats):
    np.testing.assert_array_equal(jax.grad(run)(state.g_uS), np.ones(3))
