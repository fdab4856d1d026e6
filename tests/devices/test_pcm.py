"""Phase-change memory: programming, drift and reads."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm
from tests.helpers import pcm_devices
from tests.oracles import device as oracle

QUIET = pcm_devices.QUIET
FREE = pcm_devices.FREE
_program = pcm_devices.program
_read = pcm_devices.read
_read_stats = pcm_devices.read_stats
_state = pcm_devices.state
SIZE = 65536  # catches 1 % of a mean step and 3 % of its std
G = st.floats(0.125, 12.0, width=32)


# Limits


def test_zero_noise_programs_the_target():
  target = jnp.array([0.1, 3.0, 12.0])
  state = _program(jax.random.key(0), QUIET, target)
  np.testing.assert_array_equal(state.g_uS, target)
  np.testing.assert_array_equal(state.nu, jnp.full(3, oracle.NU_MEAN))
  np.testing.assert_array_equal(state.step, np.ones(3))
  np.testing.assert_array_equal(state.age_s, np.zeros(3))
  np.testing.assert_array_equal(state.num_pulses, np.zeros(3))
  np.testing.assert_array_equal(state.pulse_memory, [1, 0, 0])  # one is RESET


def test_zero_noise_reads_the_target_at_t0():
  target = jnp.array([0.1, 3.0, 12.0])
  state = _program(jax.random.key(0), QUIET, target)
  g_uS = _read(jax.random.key(1), QUIET, state, oracle.T0_S)
  np.testing.assert_allclose(g_uS, target, rtol=1e-6)


@hypothesis.given(g=G, age=st.floats(-10.0, 1e6, width=32))
def test_zero_nu_does_not_drift(g, age):
  state = _state(g, nu=0.0)
  _, sigma = _read_stats(pcm.PCMParams(), state, age)
  assert _read(jax.random.key(0), QUIET, state, age)[0] == state.g_uS[0]
  np.testing.assert_allclose(sigma, oracle.read_sigma(g), rtol=1e-5)


def test_zero_spreads_leave_one_device_repeated():
  params = pcm.PCMParams(nu_std=0.0, step_std=0.0)
  state = _program(jax.random.key(0), params, jnp.full(64, 5.0))
  assert np.unique(state.nu).size == np.unique(state.step).size == 1
  assert np.unique(state.g_uS).size > 60


def test_pulse_memory_after_programming_is_the_parameter():
  params = pcm.PCMParams(pulse_memory_after_program=0.25)
  state = _program(jax.random.key(0), params, jnp.full(3, 5.0))
  np.testing.assert_array_equal(state.pulse_memory, np.full(3, 0.25))


# Same key: laws about noise without statistics


@pytest.mark.parametrize('g, sigma', [
    (0.0, 0.26348), (1.0, 0.340203), (5.0, 0.609555), (12.0, 0.936392),
    (25.0, 1.055355)])
def test_programming_sigma_is_the_published_polynomial(g, sigma):
  ours = pcm.program_sigma_uS(pcm.PCMParams(), jnp.float32(g))
  np.testing.assert_allclose(ours, sigma, rtol=1e-6)
  np.testing.assert_allclose(ours, oracle.program_sigma(g), rtol=1e-6)


# Drift


@pytest.mark.parametrize('age, ratios', [
    (1.0, [1.11991, 1.15735, 1.24507, 1.44098]),
    (10.0, [1.04276, 1.05551, 1.08441, 1.14461]),
    (38.6, [1.0, 1.0, 1.0, 1.0]),
    (1e2, [0.97092, 0.96264, 0.94449, 0.90920]),
    (1e3, [0.90403, 0.87794, 0.82261, 0.72220]),
    (1e4, [0.84175, 0.80069, 0.71647, 0.57367]),
    (1e5, [0.78376, 0.73024, 0.62402, 0.45568]),
    (1e6, [0.72977, 0.66598, 0.54349, 0.36196])])
def test_drift_is_the_published_table(age, ratios):
  nu = jnp.array([0.031, 0.04, 0.06, 0.10])
  state = _state(6.0, size=4)._replace(nu=nu)
  mean, _ = _read_stats(pcm.PCMParams(), state, age)
  np.testing.assert_allclose(mean / 6.0, ratios, atol=1e-5)


@hypothesis.given(g=G, nu=st.floats(2.0**-6, 0.125, width=32),
                  age=st.floats(2.0**-9, 1e6, width=32),
                  factor=st.floats(1.0625, 1e3, width=32))
def test_drift_falls_with_time_and_never_below_zero(g, nu, age, factor):
  mean = lambda age: float(_read_stats(QUIET, _state(g, nu=nu), age)[0][0])
  assert 0 < mean(age * factor) < mean(age)
  np.testing.assert_allclose(mean(age), oracle.drift(g, nu, age), rtol=1e-4)


@pytest.mark.parametrize('age', [-1e6, -1.0, 0.0, 1e-4, 1e-3])
def test_a_read_before_one_millisecond_is_the_read_at_one_millisecond(age):
  def total(g_uS, nu, age):
    state = _state(1.0)._replace(g_uS=g_uS, nu=nu)
    return jnp.sum(_read(jax.random.key(0), pcm.PCMParams(), state, age))

  g_uS, nu = jnp.full(3, 4.0), jnp.full(3, 0.04)
  value, slopes = jax.value_and_grad(total, (0, 1, 2))(g_uS, nu, age)
  at_bound, _ = jax.value_and_grad(total, (0, 1, 2))(g_uS, nu, 1e-3)
  np.testing.assert_allclose(value, at_bound, rtol=1e-6)
  assert all(np.all(np.isfinite(slope)) for slope in slopes)
  mean, _ = _read_stats(pcm.PCMParams(), _state(4.0), age)
  np.testing.assert_allclose(mean, np.full(3, oracle.drift(4.0, 0.04, age)),
                             rtol=1e-5)


# Read


@pytest.mark.parametrize('g, sigma', [
    (0.1, 0.1330), (0.5, 0.1450), (1.0, 0.160), (2.0, 0.190), (4.0, 0.250),
    (6.0, 0.310), (8.0, 0.370), (10.0, 0.430), (12.0, 0.490), (20.0, 0.730)])
def test_read_noise_is_the_published_table(g, sigma):
  # 16384 devices: 6 errors are 3.3 % of the std.
  state = _state(g, size=16384)
  sample = _read(jax.random.key(0), pcm.PCMParams(), state, oracle.T0_S)
  oracle.assert_moments(sample, g, sigma)
  mean, stated = _read_stats(pcm.PCMParams(), state, oracle.T0_S)
  np.testing.assert_allclose(mean, np.full(16384, g), rtol=1e-5)
  np.testing.assert_allclose(stated, np.full(16384, sigma), rtol=1e-5)


def test_read_noise_belongs_to_the_drifted_conductance():
  # 16384 devices at 1e6 s: the undrifted std would be 24 % larger.
  state = _state(10.0, size=16384)
  sample = _read(jax.random.key(0), pcm.PCMParams(), state, 1e6)
  oracle.assert_moments(sample, 6.6598, 0.03 * 6.6598 + 0.13)


def test_reads_are_not_clipped_at_either_bound():
  sample = _read(jax.random.key(0), pcm.PCMParams(), _state(0.1, size=16384),
                 oracle.T0_S)
  assert np.min(sample) < 0
  sample = _read(jax.random.key(0), pcm.PCMParams(), _state(12.0, size=16384),
                 oracle.T0_S)
  assert np.max(sample) > 12.5


# Devices


def test_the_drift_exponent_spreads_over_devices():
  # 65536 devices: 6 errors are 0.6 % of the mean, 1.7 % of the spread.
  state = _program(jax.random.key(0), pcm.PCMParams(), jnp.full(SIZE, 5.0))
  oracle.assert_moments(state.nu, 0.04, 0.01)
  assert np.unique(state.step).size == 1  # no spread of the step by default


def test_negative_exponents_and_steps_are_cut_at_zero():
  params = pcm.PCMParams(nu_mean=0.0, step_std=2.0)
  state = _program(jax.random.key(0), params, jnp.full(16384, 5.0))
  for field, share in ((state.nu, 0.5), (state.step, 0.308538)):
    assert np.min(field) == 0
    error = np.sqrt(share * (1 - share) / 16384)
    assert abs(np.mean(field == 0) - share) < 6 * error


def test_the_step_spreads_over_devices():
  params = pcm.PCMParams(step_std=0.1)
  state = _program(jax.random.key(0), params, jnp.full(SIZE, 5.0))
  oracle.assert_moments(state.step, 1.0, 0.1)


@pytest.mark.parametrize('target', [0.2, 2.0, 6.0, 12.0])
def test_programming_error_has_its_published_std(target):
  # 65536 devices: 6 errors are 1.7 % of the std.
  state = _program(jax.random.key(0), FREE, jnp.full(SIZE, target))
  sigma = 0.26348 + 0.0786 * target - 0.001877 * target**2
  oracle.assert_moments(state.g_uS, target, sigma)
