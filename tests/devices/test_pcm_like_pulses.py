"""Pulses and RESET of IBM's statistical model."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm_like
from tests.helpers import pcm_like_devices
from tests.oracles import device as oracle
from tests.oracles import ibm

QUIET = pcm_like_devices.QUIET
TARGET = pcm_like_devices.TARGET
_pulse = pcm_like_devices.pulse
_reset = pcm_like_devices.reset
_state = pcm_like_devices.state
SIZE = 65536
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.125, 25.0, width=32)


# Pulses and RESET


@pytest.mark.parametrize('g_max', [25.0, 10.35])
@pytest.mark.parametrize('memory', [0.0, 1.0])
def test_a_train_is_the_scaled_set_law(g_max, memory):
  params = QUIET._replace(g_max_uS=g_max)
  counts = jnp.array([0.0, 1.0, 5.0])
  state = _pulse(jax.random.key(0), params, _state(2.0, memory=memory), counts)
  path, memories = ibm.set_train(2.0, memory, 5, g_max)
  np.testing.assert_allclose(state.g_uS, [2.0, path[0], path[4]], rtol=1e-5)
  np.testing.assert_allclose(
      state.pulse_memory, [memory, memories[0], memories[4]], rtol=1e-5)
  np.testing.assert_array_equal(state.num_pulses, counts)


@pytest.mark.parametrize('g, memory', [(3.0, 0.0), (20.0, 0.0), (9.0, 1.0)])
def test_one_step_has_the_scaled_mean_and_std(g, memory):
  params = TARGET._replace(g_min_uS=-1e4)
  g_uS = _pulse(jax.random.key(8), params, _state(g, memory=memory, size=SIZE),
                jnp.ones(SIZE), max_pulses=1).g_uS
  mean, sigma = ibm.set_step(g, memory * np.exp(-1 / 2.6), 25.0)
  # The top cuts what lies above 25 uS: as a normal number cut at zero.
  top, std, _ = ibm.clipped_normal(25.0 - g - mean, sigma)
  oracle.assert_moments(25.0 - g_uS, top, std)


def test_a_pulse_starts_drift_exponent_and_noise_afresh():
  state = _state(4.0, nu=0.2, q=0.15, normal=1.5, age_s=10.0)
  after = _pulse(jax.random.key(0), QUIET, state, jnp.array([0.0, 1.0, 3.0]))
  np.testing.assert_array_equal(after.age_s, [10.0, 0.0, 0.0])
  assert after.nu[0] == np.float32(0.2) and after.read_q[0] == np.float32(0.15)
  for i in (1, 2):
    mean, std = ibm.pcm_like_nu(float(after.g_uS[i]) / 25)
    np.testing.assert_allclose(after.nu[i], mean + 1.5 * std, rtol=1e-5)
    np.testing.assert_allclose(
        after.read_q[i], ibm.pcm_like_q(float(after.g_uS[i]) / 25), rtol=1e-5)
  np.testing.assert_array_equal(after.nu_normal, state.nu_normal)
  # Drift is gone: the step was added to the conductance at age 0.
  path, _ = ibm.set_train(4.0, 0.0, 1, 25.0)
  np.testing.assert_allclose(after.g_uS[1], path[0], rtol=1e-5)


@hypothesis.given(seed=SEED, g=G, scale=st.floats(0, 20, width=32))
def test_set_keeps_the_state_between_its_bounds(seed, g, scale):
  params = pcm_like.PCMLikeParams(noise_scale=scale)
  state = _pulse(jax.random.key(seed), params, _state(g, memory=1.0),
                 jnp.array([1.0, 3.0, 5.0]))
  assert np.all((state.g_uS >= 0) & (state.g_uS <= 25.0))


def test_a_pulse_does_not_lower_to_the_top_what_lies_above_it():
  params = QUIET._replace(m1=0.0)
  after = _pulse(jax.random.key(0), params, _state(26.5), jnp.ones(3))
  np.testing.assert_array_equal(after.g_uS, np.full(3, 26.5))


def test_reset_leaves_the_scaled_low_state():
  # 65536 devices: 6 errors are 1.7 % of the spread.
  everywhere = jnp.ones(SIZE, bool)
  state = _reset(jax.random.key(0), pcm_like.PCMLikeParams(),
                 _state(9.0, normal=-0.5, age_s=5.0, size=SIZE), everywhere)
  low = 0.1 * 25 / 12
  oracle.assert_moments(state.g_uS, low, 0.1 * low)
  np.testing.assert_array_equal(state.pulse_memory, np.ones(SIZE))
  np.testing.assert_array_equal(state.age_s, np.zeros(SIZE))
  mean, std = ibm.pcm_like_nu(float(state.g_uS[0]) / 25)
  np.testing.assert_allclose(state.nu[0], mean - 0.5 * std, rtol=1e-4)
  wild = pcm_like.PCMLikeParams(noise_scale=50.0)
  state = _reset(jax.random.key(0), wild, state, everywhere)
  assert np.min(state.g_uS) == 0


def test_reset_leaves_the_devices_outside_the_mask():
  state = _state(9.0, nu=0.03, q=0.02, memory=0.2)
  mask = jnp.array([True, False, True])
  after = _reset(jax.random.key(0), TARGET, state, mask)
  for new, old in zip(after, state):
    assert new[1] == old[1]
  assert np.all(after.g_uS[mask] < 1)


# Gradients


def test_the_pulse_count_is_differentiated_as_the_mean_step():
  run = lambda count: jnp.sum(_pulse(
      jax.random.key(0), QUIET, _state(4.0), count).g_uS)
  slope = jax.grad(run)(jnp.array([0.0, 1.0, 5.0]))
  path = [4.0, *ibm.set_train(4.0, 0.0, 5, 25.0)[0]]
  expected = [path[1] - path[0], (path[2] - path[0]) / 2, path[5] - path[4]]
  np.testing.assert_allclose(slope, expected, rtol=1e-4)
