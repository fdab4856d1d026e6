"""ReRAM with exponential steps: its law, and the trace that it fits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import reram_es
from tests import measured_trace
from tests.oracles import device as oracles_device
from tests.oracles import reram as oracle

SIZE = 16384  # 6 errors are 3.3 % of a std
DEFAULT = reram_es.ReRamESParams()
QUIET = DEFAULT._replace(noise_scale=0.0)


def _weight(g_uS):
  return (np.asarray(g_uS, np.float64) - 20.0) / 20.0


@functools.partial(jax.jit, static_argnames='max_pulses')
def _pulsed(params, g_uS, num_pulses, max_pulses):
  """Returns the conductances after a train, program errors and spreads off."""
  alike = params._replace(program_scale=0.0, step_std=0.0, imbalance_std=0.0,
                          high_std=0.0, low_std=0.0)
  device = reram_es.make(alike, max_pulses=max_pulses)
  state = device.program(jax.random.key(0), g_uS)
  return device.pulse(jax.random.key(1), state, num_pulses).g_uS


@pytest.mark.parametrize('sign', [1.0, -1.0])
@pytest.mark.parametrize('weight', [-0.9, 0.0, 0.9])
def test_a_mean_train_is_the_law_of_the_source(sign, weight):
  start = jnp.full(3, 20.0 + 20.0 * weight)
  for count in (1, 3, 300):
    ours = _pulsed(QUIET, start, jnp.full(3, sign * count), 300)[0]
    path = oracle.exponential_train(weight, [sign] * count)
    np.testing.assert_allclose(_weight(ours), path[-1], atol=2e-5)


def test_steps_grow_exponentially_away_from_where_they_lead():
  # 1 + 1.18 e^0 and 1 + 1.18 e^-5 up, 1 + 0.081 e^5 and 1 + 0.081 down.
  step = lambda weight, sign: float(_weight(_pulsed(
      QUIET, jnp.full(3, 20.0 + 20.0 * weight), jnp.full(3, sign), 300)[0])
                                    - weight) / 0.00135
  np.testing.assert_allclose(step(-0.999, 1.0), 2.18, rtol=0.01)
  np.testing.assert_allclose(step(0.99, 1.0), 1.008, rtol=0.01)
  np.testing.assert_allclose(step(0.999, -1.0), -0.7406 * 13.08, rtol=0.01)
  np.testing.assert_allclose(step(-0.99, -1.0), -0.7406 * 1.083, rtol=0.01)


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_the_spread_of_a_pulse_is_five_times_its_step(sign):
  g_uS = _pulsed(DEFAULT, jnp.full(SIZE, 20.0), jnp.full(SIZE, sign), 1)
  step = oracle.exponential_train(0.0, [sign])[0]
  oracles_device.assert_moments(_weight(g_uS), step, 5 * abs(step))


def test_devices_spread_as_in_the_preset():
  state = reram_es.make(DEFAULT._replace(program_scale=0.0)).program(
      jax.random.key(0), jnp.full(SIZE, 20.0))
  oracles_device.assert_moments(_weight(state.high_uS), 1.0, 0.3)
  oracles_device.assert_moments(_weight(state.low_uS), -1.0, 0.3)
  sum_of, gap = (state.up_uS + sign * state.down_uS for sign in (1, -1))
  oracles_device.assert_moments(
      sum_of / 0.054, 1 - 0.259359 / 2, 0.2)
  oracles_device.assert_moments(gap / 0.054, 0.259359 / 2, 0.05)


# The measurement


@pytest.fixture(scope='module', name='measured')
def fixture_measured():
  measured = measured_trace.trace()
  if measured is None:
    pytest.skip('measured/gong_et_al.csv is neither in META_ANALOG_DATA nor '
                'in ../shared/data')
  return measured


def _outside(law, measured):
  """Returns for both directions whether the trace is no device of a preset."""
  residuals, own = measured_trace.of_preset(law, measured)
  rms = measured_trace.rms
  return rms(residuals, axis=-1) > np.quantile(rms(own, axis=-1), 0.95, axis=-1)


def test_the_measured_trace_is_one_of_the_devices_with_exponential_steps(
    measured):
  assert not np.any(_outside('exponential steps', measured))


def test_the_measured_trace_is_none_of_the_devices_with_soft_bounds(measured):
  assert np.all(_outside('soft bounds', measured))


def test_exponential_steps_can_be_fitted_better_than_soft_bounds(measured):
  soft, exponential = (measured_trace.rms(measured_trace.of_fit(law, measured))
                       for law in measured_trace.LAWS)
  assert exponential < soft < 0.1
