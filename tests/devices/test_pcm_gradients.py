"""Gradients through phase-change memory."""

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
_pulse = pcm_devices.pulse
_reset = pcm_devices.reset
_read = pcm_devices.read
_state = pcm_devices.state
_assert_same = pcm_devices.assert_same
SEED = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize('g', [0.5, 4.0, 9.0])
@pytest.mark.parametrize('memory', [0.0, 1.0])
@pytest.mark.parametrize('n', [0, 1, 2, 3, 5])
def test_gradient_to_the_pulse_count_is_the_central_difference(g, memory, n):
  total = lambda count: jnp.sum(_pulse(
      jax.random.key(0), QUIET, _state(g, memory), count,
      max_pulses=5).g_uS)
  slope = jax.grad(total)(jnp.full(3, float(n)))
  path = [g] + oracle.set_train(g, memory, np.zeros(5))[0]
  low, high = max(n - 1, 0), min(n + 1, 5)
  expected = (path[high] - path[low]) / (high - low)
  np.testing.assert_allclose(slope, np.full(3, expected), rtol=1e-4, atol=1e-5)


def test_pulse_count_gradient_leaves_the_value_and_the_noise_alone():
  run = lambda count: _pulse(
      jax.random.key(0), pcm.PCMParams(), _state(5.0), count).g_uS
  count = jnp.array([0.0, 1.0, 4.0])
  value, pullback = jax.vjp(run, count)
  _assert_same(value, run(count))
  slope = pullback(jnp.ones(3))[0]
  assert np.all(np.isfinite(slope)) and slope[0] > 0
  np.testing.assert_allclose(slope[0], 0.88 - 0.084 * 5, rtol=1e-4)


@hypothesis.given(seed=SEED, g=st.floats(2.0, 9.0, width=32))
def test_gradient_of_a_train_to_the_state_is_a_finite_difference(seed, g):
  # With the draws held, the train is affine in the conductance.
  run = lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), FREE, _state(1.0)._replace(g_uS=g_uS),
      jnp.full(3, 3.0), max_pulses=3).g_uS)
  start = jnp.full(3, g)
  slope = jax.grad(run)(start)
  assert np.all(np.isfinite(slope))
  difference = run(start + 0.5) - run(start - 0.5)
  np.testing.assert_allclose(np.sum(slope), difference, rtol=1e-3, atol=1e-3)
  quiet = jax.grad(lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), QUIET, _state(1.0)._replace(g_uS=g_uS),
      jnp.full(3, 3.0), max_pulses=3).g_uS))(start)
  np.testing.assert_allclose(quiet, np.full(3, 0.916**3), rtol=1e-5)


def test_a_state_clipped_by_the_last_pulse_passes_no_gradient():
  params = QUIET._replace(g_max_uS=6.0)
  start = jnp.array([5.9, 5.0, 2.0])
  slope = jax.grad(lambda g_uS: jnp.sum(_pulse(
      jax.random.key(0), params, _state(1.0, 1.0)._replace(g_uS=g_uS),
      jnp.ones(3)).g_uS))(start)
  np.testing.assert_allclose(slope, [0.0, 0.0, 0.916], rtol=1e-5)


def test_programming_differentiates_to_its_target():
  target = jnp.array([1.0, 6.0, 11.0])
  quiet = jax.grad(lambda target: jnp.sum(_program(
      jax.random.key(0), QUIET, target).g_uS))(target)
  np.testing.assert_allclose(quiet, np.ones(3))
  run = lambda target: jnp.sum(_program(
      jax.random.key(0), FREE, target).g_uS)
  difference = (run(target + 0.05) - run(target - 0.05)) / 0.1
  np.testing.assert_allclose(
      np.sum(jax.grad(run)(target)), difference, rtol=1e-3)


def test_gradient_of_a_read_to_the_state_is_a_finite_difference():
  def run(g_uS, nu):
    state = _state(1.0)._replace(g_uS=g_uS, nu=nu)
    return jnp.sum(_read(jax.random.key(0), pcm.PCMParams(), state, 1e4))

  g_uS, nu = jnp.array([0.1, 5.0, 12.0]), jnp.array([0.01, 0.04, 0.08])
  to_g, to_nu = jax.grad(run, (0, 1))(g_uS, nu)
  difference = (run(g_uS + 0.05, nu) - run(g_uS - 0.05, nu)) / 0.1
  np.testing.assert_allclose(np.sum(to_g), difference, rtol=1e-3)
  difference = (run(g_uS, nu + 2e-3) - run(g_uS, nu - 2e-3)) / 4e-3
  np.testing.assert_allclose(np.sum(to_nu), difference, rtol=1e-3)
  assert np.all(to_nu < 0)


def test_reset_passes_no_gradient_to_the_erased_state():
  mask = jnp.array([True, False, True])
  slope = jax.grad(lambda g_uS: jnp.sum(_reset(
      jax.random.key(0), pcm.PCMParams(), _state(1.0)._replace(g_uS=g_uS),
      mask).g_uS))(jnp.full(3, 5.0))
  np.testing.assert_array_equal(slope, [0, 1, 0])
