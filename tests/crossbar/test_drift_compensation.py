"""Drift compensation, by the clock and measured on a noisy array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array as array_lib
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery

NUM_ROWS, NUM_OUTPUTS = 41, 40
DRIFTED = 1e4 ** -0.1
CLOCK = lambda time_s: (time_s / 40.0) ** 0.04


def weights(seed=0, shape=(NUM_ROWS, NUM_OUTPUTS)):
  return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def read_layer(w, key=None, sigma=0.0, fresh=0.5, offset=0.0):
  """Returns the reading of a layer with frozen and fresh noise."""
  columns = periphery.perfect_columns(*w.shape, 256)
  columns = columns._replace(offset=columns.offset + offset)
  frozen = 0.0
  if key is not None:
    frozen = sigma * np.sqrt(1 - fresh) * jax.random.normal(key, w.shape)
  variance = jnp.full(w.shape, fresh * sigma**2)
  return matvec.LayerReading(
      array_lib.Reading(w + frozen, variance), columns, jnp.float32(1.0), 1.0)


def measured_factor(name, w, now_w, design, seed=0, **noise):
  """Returns the factor after two calibrations and one measurement."""
  way = drift_compensation.make(name, CLOCK)
  outputs = []
  for i, array in enumerate((w, w, now_w)):
    key = jax.random.fold_in(jax.random.key(seed), i)
    key_read, key_probe = jax.random.split(key)
    outputs.append(drift_compensation.probe(
        key_probe, design, read_layer(array, key_read, **noise)))
  baseline = drift_compensation.calibrate(*outputs[:2], jnp.ones(()))
  return np.asarray(way.factor(baseline, outputs[2], 1e4))


EXACT = periphery.Periphery(adc_range=100.0)


def test_the_clock_gives_the_factor_of_the_mean_law_and_none_gives_one():
  assert drift_compensation.make('clock', CLOCK).factor(None, None, 1e4) == (
      pytest.approx(CLOCK(1e4)))
  none = drift_compensation.make('none', CLOCK)
  assert none.factor(None, None, 1e4) == 1.0 and none.clock(1e4) == 1.0
  assert not none.measures


@pytest.mark.parametrize('name', ['global', 'column'])
def test_a_common_drift_is_measured_exactly_without_noise(name):
  w = weights()
  np.testing.assert_allclose(
      measured_factor(name, w, DRIFTED * w, EXACT), 1 / DRIFTED, rtol=1e-4)


def test_only_the_compensation_by_column_tells_columns_apart():
  w, shrink = weights(shape=(33, 2)), jnp.array([[0.9, 0.5]])
  np.testing.assert_allclose(
      measured_factor('column', w, shrink * w, EXACT), 1 / shrink[0],
      rtol=1e-4)
  together = measured_factor('global', w, shrink * w, EXACT)
  assert np.ptp(together) == 0 and 1 / 0.9 < together[0] < 1 / 0.5


@pytest.mark.parametrize('name, most', [('global', 0.005), ('column', 0.01)])
def test_noise_offset_and_the_adc_do_not_bias_the_measurement(name, most):
  # An 8-bit ADC of 4 full weights, noise of 0.02, an offset of a whole weight.
  design = periphery.Periphery(dac_bits=8, adc_bits=8, adc_range=4.0)
  w = 0.3 * weights()
  factors = [np.mean(measured_factor(
      name, w, DRIFTED * w, design, seed, sigma=0.02, offset=1.0))
             for seed in range(20)]
  assert abs(np.mean(factors) * DRIFTED - 1) < most
  assert np.std(factors) > 0


def test_frozen_noise_of_one_read_does_not_enter_the_power():
  # With the same read in both calibrations the power, and so the factor, would
  # be 1 + 0.25 / (1 / 3) times too large.
  factors = [measured_factor('global', weights(), weights(), EXACT, seed,
                             sigma=0.5, fresh=0.0) for seed in range(5)]
  np.testing.assert_allclose(factors, 1.0, atol=0.05)


@pytest.mark.parametrize('name', ['global', 'column'])
def test_what_cannot_be_measured_is_left_at_its_level(name):
  # Half a step of the ADC is 1 / 127 here, and no noise lifts a signal above.
  design = periphery.Periphery(adc_bits=8, adc_range=2.0)
  w = 1e-4 * weights()
  np.testing.assert_array_equal(
      measured_factor(name, w, DRIFTED * w, design), np.ones_like(
          measured_factor(name, w, w, design)))
  # Nor is a signal that vanishes taken for a drift without end.
  gone = measured_factor(name, weights(), 1e-6 * weights(), EXACT)
  np.testing.assert_array_equal(gone, np.ones_like(gone))


def test_a_factor_goes_on_from_the_level_of_its_baseline():
  way, w, key = drift_compensation.make('column',
                                        CLOCK), weights(), jax.random.key(0)
  first, second, now = (
      drift_compensation.probe(
          jax.random.fold_in(key, i), EXACT, read_layer(s * w))
      for i, s in enumerate((1.0, 1.0, 0.5)))
  level = jnp.linspace(1.0, 2.0, NUM_OUTPUTS)
  np.testing.assert_allclose(
      way.factor(drift_compensation.calibrate(first, second, level), now, 1.0),
      2 * level, rtol=1e-4)


@pytest.mark.xfail(strict=True, reason=(
    'calibration vectors drive all rows at full scale, and the ADC is made for '
    'few spikes: it clips the baseline more than the outputs that drifted'))
def test_an_adc_that_clips_does_not_bias_the_measurement():
  design = periphery.Periphery(adc_bits=8, adc_range=4.0, dac_bits=8)
  w = 0.33 * jax.random.normal(jax.random.key(0), (256, 40))
  np.testing.assert_allclose(
      np.mean(measured_factor('global', w, 0.58 * w, design)), 1 / 0.58,
      rtol=0.01)


def test_an_unknown_compensation_is_refused_by_name():
  with pytest.raises(ValueError, match="'magic'.*none.*clock.*global.*column"):
    drift_compensation.make('magic', None)
