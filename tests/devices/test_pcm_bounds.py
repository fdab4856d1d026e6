"""SET and RESET of phase-change memory: bounds and bookkeeping."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.devices import pcm
from tests.helpers import pcm_devices
from tests.oracles import device as oracle

QUIET = pcm_devices.QUIET
_program = pcm_devices.program
_pulse = pcm_devices.pulse
_reset = pcm_devices.reset
_read = pcm_devices.read
_read_stats = pcm_devices.read_stats
_state = pcm_devices.state
_fresh = pcm_devices.fresh
_assert_same = pcm_devices.assert_same
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.125, 12.0, width=32)
P = st.floats(0.0, 1.0, width=32)


@hypothesis.given(seed=SEED, g=G, memory=P, scale=st.floats(0, 20, width=32),
                  g_max=st.sampled_from([8.0, 12.0, 20.0]))
def test_set_keeps_the_state_between_its_bounds(seed, g, memory, scale, g_max):
  params = pcm.PCMParams(noise_scale=scale, g_max_uS=g_max)
  state = _pulse(jax.random.key(seed), params, _state(min(g, g_max), memory),
                 jnp.array([1.0, 3.0, 20.0]))
  assert np.all(state.g_uS >= np.float32(0.1))
  assert np.all(state.g_uS <= np.float32(g_max))
  assert np.all((state.pulse_memory >= 0) & (state.pulse_memory <= 1))


@hypothesis.given(seed=SEED, scale=st.floats(0, 50, width=32))
def test_reset_keeps_the_state_between_its_bounds(seed, scale):
  params = pcm.PCMParams(noise_scale=scale, reset_std=1.0)
  state = _reset(jax.random.key(seed), params, _state(5.0), jnp.ones(3, bool))
  assert np.all((state.g_uS >= np.float32(0.01)) & (state.g_uS <= 12.0))


def test_strong_noise_reaches_each_stated_bound():
  wild = pcm.PCMParams(noise_scale=50.0)
  after_set = _pulse(jax.random.key(0), wild, _fresh(16384), jnp.ones(16384),
                     max_pulses=1).g_uS
  after_reset = _reset(jax.random.key(1), wild._replace(reset_std=10.0),
                       _fresh(16384), jnp.ones(16384, bool)).g_uS
  programmed = _program(jax.random.key(2), wild, jnp.full(16384, 5.0)).g_uS
  for g_uS, low in ((after_set, 0.1), (after_reset, 0.01), (programmed, 0.1)):
    assert (np.min(g_uS), np.max(g_uS)) == (np.float32(low), np.float32(12.0))


def test_reset_has_its_mean_and_spread():
  # 16384 devices: 6 errors are 3.3 % of the spread, 0.5 % of the mean.
  state = _fresh(16384, pcm.PCMParams())
  oracle.assert_moments(state.g_uS, 0.1, 0.01)
  assert np.min(state.g_uS) < 0.1  # the bound of SET does not apply


def test_reset_starts_memory_drift_and_count_afresh_where_masked():
  before = _state(5.0, 0.2, nu=0.03, step=1.2, age_s=4.0)._replace(
      num_pulses=jnp.full(3, 6.0))
  mask = jnp.array([True, False, True])
  after = _reset(jax.random.key(0), pcm.PCMParams(), before, mask)
  np.testing.assert_array_equal(after.pulse_memory, jnp.array([1, 0.2, 1]))
  np.testing.assert_array_equal(after.age_s, [0, 4, 0])
  np.testing.assert_array_equal(after.num_pulses, [0, 6, 0])
  assert after.g_uS[1] == 5.0 and after.g_uS[0] < 1 and after.g_uS[2] < 1
  _assert_same((after.nu, after.step), (before.nu, before.step))


@hypothesis.given(seed=SEED, g=G, memory=P, age=st.floats(0, 1e6, width=32))
def test_no_pulses_change_nothing_bit_for_bit(seed, g, memory, age):
  state = _state(g, memory, age_s=age)
  for count in (0.0, -2.0):
    after = _pulse(jax.random.key(seed), pcm.PCMParams(), state,
                   jnp.full(3, count))
    _assert_same(state, after)
  after = _reset(jax.random.key(seed), pcm.PCMParams(), state,
                 jnp.zeros(3, bool))
  _assert_same(state, after)


def test_drift_restarts_on_pulsed_devices_only():
  state = _state(4.0, age_s=10.0)
  after = _pulse(jax.random.key(0), QUIET, state, jnp.array([0.0, 1.0, 3.0]))
  np.testing.assert_array_equal(after.age_s, [10.0, 0.0, 0.0])
  g_uS = _read(jax.random.key(1), QUIET, after, 100.0)
  for i, age in enumerate([110.0, 100.0, 100.0]):
    expected = oracle.drift(float(after.g_uS[i]), 0.04, age)
    np.testing.assert_allclose(g_uS[i], expected, rtol=1e-5)


def test_a_pulse_erases_the_drift_of_its_device():
  # The step is added to the conductance at T0, not to the drifted one.
  state = _pulse(jax.random.key(0), QUIET, _state(4.0, age_s=1e6), jnp.ones(3))
  mean = _read_stats(QUIET, state, oracle.T0_S)[0]
  np.testing.assert_allclose(mean, np.full(3, 4.0 - 0.084 * 4 + 0.88),
                             rtol=1e-4)
