"""Programming of IBM's statistical model."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm_like
from meta_analog.devices import registry as device_registry
from tests.helpers import pcm_like_devices
from tests.oracles import device as oracle
from tests.oracles import ibm

TARGET = pcm_like_devices.TARGET
TARGET_0 = pcm_like_devices.TARGET_0
PROGRAMMED = pcm_like_devices.PROGRAMMED
_program = pcm_like_devices.program
_read = pcm_like_devices.read
_state = pcm_like_devices.state
SIZE = 65536
SEED = st.integers(0, 2**31 - 1)


# Programming


@pytest.mark.parametrize('target', [0.0, 0.25, 1.0, 12.5, 25.0])
def test_programming_is_a_normal_error_cut_at_zero(target):
  # 65536 devices: 6 errors are 1.7 % of the std.
  state = _program(jax.random.key(1), TARGET_0, jnp.full(SIZE, target))
  mean, std, zero = ibm.clipped_normal(
      target, ibm.pcm_like_program_sigma(target))
  oracle.assert_moments(state.g_uS, mean, std)
  error = np.sqrt(zero * (1 - zero) / SIZE)
  assert abs(np.mean(state.g_uS == 0) - zero) < 6 * error + 1e-5


def test_programming_is_not_cut_at_the_largest_target():
  state = _program(jax.random.key(1), TARGET, jnp.full(SIZE, 25.0))
  assert abs(np.mean(state.g_uS > 25) - 0.5) < 6 * 0.5 / np.sqrt(SIZE)


@hypothesis.given(seed=SEED, scale=st.floats(0, 20, width=32),
                  g=st.floats(-50, 50, width=32),
                  g_max=st.sampled_from([12.0, 25.0, 40.0]),
                  source=st.sampled_from([0.0, 1.0]))
def test_a_programmed_state_is_finite_and_not_negative(
    seed, scale, g, g_max, source):
  params = pcm_like.PCMLikeParams(
      noise_scale=scale, g_max_uS=g_max, read_noise_from=source)
  state = _program(jax.random.key(seed), params, jnp.full(3, g))
  for field in state:
    assert np.all(np.isfinite(field))
  assert np.all(state.g_uS >= 0) and np.all(state.nu >= 0)
  assert np.all((state.read_q > 0) & (state.read_q <= np.float32(0.2)))


@pytest.mark.parametrize('target', [0.0, 0.4, 2.0, 12.5])
def test_the_exponent_is_the_size_of_a_normal_number(target):
  state = _program(jax.random.key(2), TARGET_0, jnp.full(SIZE, target))
  mean, std = ibm.pcm_like_nu(target / 25)
  drawn = np.abs(mean + std * np.random.default_rng(0).normal(size=10**6))
  oracle.assert_moments(state.nu, drawn.mean(), drawn.std())
  np.testing.assert_allclose(
      state.nu, np.abs(mean + std * state.nu_normal), rtol=1e-4, atol=1e-7)


def test_read_noise_comes_from_the_target_or_the_programmed_state():
  target = jnp.full(SIZE, 2.0)
  a = _program(jax.random.key(0), TARGET, target)
  b = _program(jax.random.key(0), PROGRAMMED, target)
  np.testing.assert_array_equal(a.g_uS, b.g_uS)
  np.testing.assert_array_equal(a.nu, b.nu)
  np.testing.assert_allclose(
      a.read_q, np.full(SIZE, ibm.pcm_like_q(2 / 25)), rtol=1e-5)
  expected = [ibm.pcm_like_q(g / 25) for g in np.asarray(b.g_uS[:200])]
  np.testing.assert_allclose(b.read_q[:200], expected, rtol=1e-4)
  assert np.std(b.read_q) > 0.05 * np.mean(b.read_q)


@pytest.mark.parametrize('word, params', [
    ('target', TARGET), ('programmed', PROGRAMMED)])
def test_a_config_says_the_source_of_read_noise_in_a_word(word, params):
  values = device_registry.default_params()['pcm_like']
  assert values['read_noise_from'] == 'target'
  values['read_noise_from'] = word
  device = device_registry.make('pcm_like', pcm_like.PCMLikeParams(**values), 4)
  state = device.program(jax.random.key(0), jnp.full(3, 2.0))
  np.testing.assert_allclose(
      state.read_q,
      _program(jax.random.key(0), params, jnp.full(3, 2.0)).read_q,
      rtol=1e-5)


def test_another_word_is_refused():
  params = pcm_like.PCMLikeParams(read_noise_from='guess')
  with pytest.raises(ValueError, match="'guess'.*programmed, target"):
    device_registry.make('pcm_like', params, 4)


def test_a_parameter_that_does_not_exist_is_refused():
  with pytest.raises(TypeError, match='acceptance'):
    pcm_like.PCMLikeParams(acceptance=0.02)


def test_the_devices_of_a_pair_keep_noise_of_their_own():
  # Nothing is folded into one device or scaled to the largest weight.
  target = jnp.stack([jnp.full(SIZE, 20.0), jnp.zeros(SIZE)])
  state = _program(jax.random.key(5), TARGET_0, target)
  plus, minus = state.g_uS
  oracle.assert_uncorrelated(plus, minus)
  oracle.assert_uncorrelated(state.nu[0], state.nu[1])
  zero = ibm.clipped_normal(0.0, ibm.pcm_like_program_sigma(0.0))
  sigma = ibm.pcm_like_program_sigma(20.0)
  oracle.assert_moments(plus - minus, 20.0 - zero[0], np.hypot(sigma, zero[1]))
  oracle.assert_moments(minus, zero[0], zero[1])
  g_uS = _read(jax.random.key(6), TARGET, state, 86400.0)
  oracle.assert_uncorrelated(g_uS[0], g_uS[1])


def test_noise_is_uncorrelated_between_devices_keys_and_quantities():
  state = _program(jax.random.key(7), TARGET, jnp.full(SIZE, 12.0))
  reads = [_read(jax.random.key(i), TARGET, _state(12.0, size=SIZE), 1.0)
           for i in range(2)]
  for sample in (state.g_uS, state.nu, reads[0]):
    oracle.assert_uncorrelated(sample[:-1], sample[1:])
  oracle.assert_uncorrelated(state.g_uS, state.nu)
  oracle.assert_uncorrelated(*reads)


# Gradients


@pytest.mark.parametrize('source', [0.0, 1.0])
def test_gradients_to_the_target_are_finite_everywhere(source):
  params = pcm_like.PCMLikeParams(read_noise_from=source)
  target = jnp.array([-1.0, 0.0, 1e-6, 0.1903, 0.2, 5.115, 8.2225, 25.0, 30.0])

  def run(target_uS):
    state = _program(jax.random.key(0), params, target_uS)
    return jnp.sum(_read(jax.random.key(1), params, state, 1e4))

  slope = jax.grad(run)(target)
  assert np.all(np.isfinite(slope))
  assert slope[0] == slope[-1] == 0


@pytest.mark.parametrize('source', [0.0, 1.0])
def test_the_gradient_to_the_target_is_a_finite_difference(source):
  params = pcm_like.PCMLikeParams(read_noise_from=source)

  def run(target_uS):
    state = _program(jax.random.key(0), params, target_uS)
    return jnp.sum(_read(jax.random.key(1), params, state, 1e4))

  target = jnp.array([2.0, 7.0, 15.0])
  difference = (run(target + 0.05) - run(target - 0.05)) / 0.1
  np.testing.assert_allclose(np.sum(jax.grad(run)(target)), difference,
                             rtol=2e-3)


def test_a_device_cut_at_zero_passes_no_gradient():
  run = lambda target: _program(jax.random.key(3), TARGET_0, target).g_uS
  target = jnp.zeros(64)
  g_uS, pullback = jax.vjp(run, target)
  slope = pullback(jnp.ones(64))[0]
  assert 10 < np.sum(g_uS == 0) < 54
  np.testing.assert_array_equal(slope == 0, g_uS == 0)
