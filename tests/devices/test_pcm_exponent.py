"""Phase-change memory whose drift exponent depends on the conductance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.devices import pcm
from tests.oracles import device as oracle
from tests.oracles import ibm

# The law of Joshi et al., 2020.
STATE = pcm.PCMParams(nu_mean=0.0244, nu_slope=-0.0155, nu_min=0.049,
                      nu_max=0.1, nu_std=0.0)


exponent = jax.jit(pcm.exponent)


@jax.jit
def _programmed(params, target_uS):
  return pcm.make(params).program(jax.random.key(0), target_uS)


def test_without_a_slope_every_state_has_the_exponent_of_its_device():
  state = _programmed(pcm.PCMParams(), jnp.array([0.1, 0.5, 3.0, 12.0]))
  exponents = pcm.exponent(pcm.PCMParams(), state)
  np.testing.assert_array_equal(exponents, state.nu)
  traced = jax.jit(lambda p: pcm.exponent(p, state))(pcm.PCMParams())
  np.testing.assert_array_equal(traced, state.nu)


def test_with_the_published_slope_it_is_the_published_curve():
  quiet = STATE._replace(noise_scale=0.0)
  state = _programmed(quiet, jnp.array([0.1, 0.15, 0.4, 1.0, 3.0, 5.0, 12.0]))
  expected = [ibm.pcm_like_nu(g / 25)[0] for g in np.asarray(state.g_uS)]
  np.testing.assert_allclose(
      exponent(quiet, state), expected, rtol=1e-5)
  assert expected[0] == 0.1 and expected[-1] == 0.049
  g_uS = jax.jit(pcm.make(quiet).read_stats)(state, jnp.float32(86400.0))[0]
  np.testing.assert_allclose(g_uS, [
      oracle.drift(g, nu, 86400.0) for g, nu in zip(state.g_uS, expected)],
                             rtol=1e-5)


def test_the_exponent_follows_the_state_after_a_pulse_and_a_reset():
  device = pcm.make(STATE)
  state = _programmed(STATE, jnp.full(64, 0.3))
  pulsed = jax.jit(device.pulse)(jax.random.key(1), state, jnp.full(64, 4.0))
  erased = jax.jit(device.reset)(jax.random.key(2), pulsed, jnp.ones(64, bool))
  for after in (pulsed, erased):
    np.testing.assert_allclose(exponent(STATE, after), [
        ibm.pcm_like_nu(float(g) / 25)[0] for g in after.g_uS], rtol=1e-5)
  assert np.mean(exponent(STATE, pulsed)) < 0.07
  assert np.mean(exponent(STATE, erased)) > 0.09


def test_the_spread_over_devices_is_kept():
  params = STATE._replace(nu_std=0.004)
  state = _programmed(params, jnp.full(16384, 6.0))
  oracle.assert_moments(exponent(params, state), 0.049, 0.004)


def test_a_read_is_differentiable_to_a_state_with_a_slope():
  read = jax.jit(lambda g: jnp.sum(pcm.make(STATE).read_stats(
      _programmed(STATE._replace(noise_scale=0.0), g), jnp.float32(1e4))[0]))
  slope = jax.jit(jax.grad(read))(jnp.array([2.0]))[0]
  difference = (read(jnp.array([2.05])) - read(jnp.array([1.95]))) / 0.1
  np.testing.assert_allclose(slope, difference, rtol=1e-3)


@pytest.mark.parametrize('field, value', [
    ('nu_range_uS', 0.0), ('nu_min', 2.0), ('nu_slope', float('nan'))])
def test_values_that_cannot_be_are_refused(field, value):
  config = pcm_config.get_config('tiny')
  config.device_params.pcm[field] = value
  with pytest.raises(errors.InputError, match=f'pcm.{field} = '):
    validation.check(config)
