"""The clock of drift compensation knows the mean over the exponents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog.config import build
from tests.oracles import device as device_oracle
from tests.oracles import drift as oracle

AGES_S = [1.0, 38.6, 251.0, 86400.0, 31536000.0]


def _setup(**changes):
  """Returns the setup of small PCM, whose learners are their hardware."""
  config = pcm_config.get_config('tiny')
  config.crossbar.drift_compensation = 'clock'
  config.update_from_flattened_dict(changes)
  return build.build(config, lambda hardware, *args, **kwargs: hardware)


def _factors(hardware):
  compensation = hardware.network.compensation
  return np.array([compensation.factor(None, None, jnp.float32(age_s))
                   for age_s in AGES_S])


def _expected(std):
  log_ages = np.log(np.array(AGES_S) / device_oracle.T0_S)
  return np.array([1 / oracle.mean_share(device_oracle.NU_MEAN, std, x)
                   for x in log_ages])


@functools.cache
def _default():
  return _setup()


@pytest.mark.parametrize('scale', [0.0, 1.0, 2.5])
def test_the_clock_undoes_the_mean_drift_at_the_noise_of_the_chips(scale):
  std = scale * device_oracle.NU_STD
  np.testing.assert_allclose(
      _factors(_default().make_learner(scale)), _expected(std), rtol=1e-5)


def test_the_clock_follows_a_noise_scale_that_is_traced():
  @jax.jit
  def factor(scale, device_noise):
    setup = _default().at_noise(device_noise)
    return setup.make_learner(scale).network.compensation.clock(AGES_S[-1])

  np.testing.assert_allclose(
      factor(1.5, 2.0), _expected(3.0 * device_oracle.NU_STD)[-1], rtol=1e-5)


def test_the_clock_follows_the_source_of_the_spread():
  factors = _factors(_setup(**{'noise.drift_spread': 2.0}).make_learner(1.0))
  np.testing.assert_allclose(
      factors, _expected(2 * device_oracle.NU_STD), rtol=1e-5)
  factors = _factors(_setup(**{'noise.drift_spread': 0.0}).make_learner(1.0))
  np.testing.assert_array_equal(
      factors, _factors(_default().make_learner(0.0)))


def test_the_clock_does_not_undo_a_bias_of_programming():
  # So wide an error leaves the mean of clipped states elsewhere.
  setup = _setup(**{'noise.output_program': 10.0})
  np.testing.assert_allclose(
      _factors(setup.make_learner(1.0)), _expected(device_oracle.NU_STD),
      rtol=1e-5)
