"""Phase-change memory: same-key laws of its noise, independence of draws."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.devices import pcm
from tests.helpers import pcm_devices
from tests.oracles import device as oracle

FREE = pcm_devices.FREE
_program = pcm_devices.program
_pulse = pcm_devices.pulse
_reset = pcm_devices.reset
_read = pcm_devices.read
_state = pcm_devices.state
_assert_same = pcm_devices.assert_same
SIZE = 65536  # catches 1 % of a mean step and 3 % of its std
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.125, 12.0, width=32)
P = st.floats(0.0, 1.0, width=32)
NOISE = st.floats(0.0, 4.0, width=32)


# Same key: laws about noise without statistics


@hypothesis.given(
    seed=SEED, g=G, scale=NOISE, age=st.floats(0.5, 1e6, width=32))
def test_read_noise_scales_with_noise_scale(seed, g, scale, age):
  state = _state(g)
  read = lambda s: _read(
      jax.random.key(seed), pcm.PCMParams(noise_scale=s), state, age)
  mean = read(0.0)
  np.testing.assert_allclose(
      read(scale) - mean, scale * (read(1.0) - mean), rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, g=G, age=st.floats(0.5, 1e6, width=32))
def test_read_noise_is_affine_in_the_drifted_conductance(seed, g, age):
  read = lambda g, nu, age: _read(
      jax.random.key(seed), pcm.PCMParams(), _state(g, nu=nu), age)
  draw = read(0.0, 0.0, 1.0) / oracle.C3
  mean = oracle.drift(g, 0.04, age)
  np.testing.assert_allclose(
      read(g, 0.04, age), mean + oracle.read_sigma(mean) * draw,
      rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, g=G, scale=NOISE)
def test_every_programming_error_scales_with_noise_scale(seed, g, scale):
  def error(scale):
    params = FREE._replace(noise_scale=scale, nu_mean=10.0, step_std=0.01)
    state = _program(jax.random.key(seed), params, jnp.full(3, g))
    return jnp.stack([state.g_uS - g, state.nu - 10.0, state.step - 1.0])

  np.testing.assert_allclose(error(scale), scale * error(1.0), atol=2e-5)
  np.testing.assert_array_equal(error(0.0), np.zeros((3, 3)))


@hypothesis.given(seed=SEED, g=st.floats(0.125, 12.0, width=32))
def test_programming_error_follows_its_sigma(seed, g):
  error = lambda g: _program(
      jax.random.key(seed), FREE, jnp.full(3, g)).g_uS - g
  expected = error(1.0) * oracle.program_sigma(g) / oracle.program_sigma(1.0)
  np.testing.assert_allclose(error(g), expected, rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, g=G, memory=P, scale=NOISE)
def test_noise_of_one_pulse_scales_with_noise_scale(seed, g, memory, scale):
  step = lambda s: _pulse(
      jax.random.key(seed), FREE._replace(noise_scale=s), _state(g, memory),
      jnp.ones(3), max_pulses=1).g_uS
  mean = step(0.0)
  np.testing.assert_allclose(
      step(scale) - mean, scale * (step(1.0) - mean), rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, scale=NOISE)
def test_reset_noise_scales_with_noise_scale(seed, scale):
  reset = lambda s: _reset(
      jax.random.key(seed), FREE._replace(noise_scale=s), _state(5.0),
      jnp.ones(3, bool)).g_uS
  np.testing.assert_allclose(
      reset(scale) - 0.1, scale * (reset(1.0) - 0.1), atol=1e-6)


# Keys


def test_noise_is_uncorrelated_between_devices_keys_and_quantities():
  params = FREE._replace(step_std=0.1)
  state = _program(jax.random.key(0), params, jnp.full(SIZE, 5.0))
  reads = [_read(jax.random.key(i), params, _state(5.0, size=SIZE), 1.0)
           for i in range(2)]
  for sample in (state.g_uS, state.nu, state.step, reads[0]):
    oracle.assert_uncorrelated(sample[:-1], sample[1:])
  for a, b in ((state.g_uS, state.nu), (state.nu, state.step),
               (state.g_uS, state.step), (reads[0], reads[1])):
    oracle.assert_uncorrelated(a, b)


def test_noise_is_uncorrelated_between_the_pulses_of_a_train():
  train = lambda n: _pulse(
      jax.random.key(0), FREE, _state(5.0, size=SIZE), jnp.full(SIZE, n)).g_uS
  g1, g2, g3 = train(1.0), train(2.0), train(3.0)
  draw = lambda new, old: (new - old - 0.88 + 0.084 * old) / (
      0.26 + 0.091 * old)
  first, second, third = draw(g1, 5.0), draw(g2, g1), draw(g3, g2)
  for sample in (first, second, third):
    oracle.assert_moments(sample, 0.0, 1.0)
  for a, b in ((first, second), (second, third), (first, third)):
    oracle.assert_uncorrelated(a, b)


def test_two_keys_give_two_devices_and_one_key_one():
  program = lambda seed: _program(
      jax.random.key(seed), pcm.PCMParams(), jnp.full(3, 5.0)).g_uS
  _assert_same(program(0), program(0))
  assert np.all(program(0) != program(1))
