"""Drift compensation, by the clock and measured on a noisy array."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array as array_lib
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery

NUM_ROWS, NUM_OUTPUTS = 41, 40
AGE_S = 1e4
DRIFTED = 1e4 ** -0.1
CLOCK = lambda time_s: (time_s / 40.0) ** 0.04


def weights(seed=0, shape=(NUM_ROWS, NUM_OUTPUTS)):
  return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def read_layer(w, design, key=None, sigma=0.0, fresh=0.5, offset=0.0):
  """Returns the reading of a layer with frozen and fresh noise."""
  columns = periphery.perfect_columns(*w.shape, design.tile_rows)
  columns = columns._replace(offset=columns.offset + offset)
  frozen = 0.0
  if key is not None:
    frozen = sigma * np.sqrt(1 - fresh) * jax.random.normal(key, w.shape)
  variance = jnp.full(w.shape, fresh * sigma**2)
  return matvec.LayerReading(
      array_lib.Reading(w + frozen, variance), columns, jnp.float32(1.0), 1.0)


def baseline_of(key, w, design, known=None, level=1.0, **noise):
  """Returns the baseline of an array whose estimate is known, or w itself."""
  key_read, key_probe = jax.random.split(key)
  return drift_compensation.calibrate(
      key_probe, design, read_layer(w, design, key_read, **noise),
      w if known is None else known, level, jnp.float32(CLOCK(40.0)))


def measured_factor(name, w, now_w, design, seed=0, known=None, **noise):
  """Returns the factor after a calibration and one measurement."""
  return np.asarray(_measured_factor(
      name, design, w, now_w, seed, w if known is None else known, noise))


@functools.partial(jax.jit, static_argnames=('name', 'design'))
def _measured_factor(name, design, w, now_w, seed, known, noise):
  key = jax.random.key(seed)
  key_calibrate, key_read, key_probe = jax.random.split(key, 3)
  baseline = baseline_of(key_calibrate, w, design, known, **noise)
  outputs = drift_compensation.probe(
      key_probe, design, read_layer(now_w, design, key_read, **noise),
      baseline.inputs)
  return drift_compensation.make(name, CLOCK).factor(
      baseline, outputs, AGE_S)


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


@pytest.mark.parametrize('name, sigma', [('global', 0.02), ('column', 0.005)])
def test_noise_offset_and_the_adc_do_not_bias_the_measurement(name, sigma):
  # An 8-bit ADC of 4 full weights, and half a weight of unknown offset.
  design = periphery.Periphery(dac_bits=8, adc_bits=8, adc_range=4.0)
  w = 0.3 * weights()
  factors = [np.mean(measured_factor(
      name, w, DRIFTED * w, design, seed, sigma=sigma, offset=0.5))
             for seed in range(20)]
  assert abs(np.mean(factors) * DRIFTED - 1) < 0.005
  assert np.std(factors) > 0


def test_noise_that_both_reads_share_does_not_bias_the_factor():
  # With outputs as read in the place of the estimate's, the square of the noise
  # would enter: 1 + 0.25 / (1 / 3) times too much.
  w = weights()
  factors = []
  for seed in range(20):
    noise = 0.5 * jax.random.normal(jax.random.key(seed), w.shape)
    factors.append(measured_factor(
        'global', w + noise, 0.8 * w + noise, EXACT, seed, known=w)[0])
  np.testing.assert_allclose(np.mean(factors), 1 / 0.8, rtol=0.01)


@pytest.mark.parametrize('name', ['global', 'column'])
def test_what_cannot_be_measured_follows_the_mean_law(name):
  # Half a step of the ADC is 1 / 127 here, and no noise lifts a signal above.
  design = periphery.Periphery(adc_bits=8, adc_range=4.0)
  w, law = weights(), CLOCK(AGE_S) / CLOCK(40.0)
  tiny = jnp.full((2, NUM_OUTPUTS), 1e-4)
  np.testing.assert_allclose(
      measured_factor(name, tiny, DRIFTED * tiny, design), law, rtol=1e-5)
  # Nor is a signal that vanishes, or is lost in noise, taken for a drift.
  np.testing.assert_allclose(
      measured_factor(name, w, 1e-6 * w, EXACT, known=w, sigma=0.5), law,
      rtol=1e-5)
  np.testing.assert_allclose(
      measured_factor(name, 0.01 * w, DRIFTED * 0.01 * w, design, sigma=0.2),
      law, rtol=1e-5)


def test_the_error_of_a_ratio_is_that_of_many_measurements():
  # Noise that is in full measured scatters the factor by less than MAX_ERROR.
  w, law = weights(shape=(NUM_ROWS, 1)), CLOCK(AGE_S) / CLOCK(40.0)
  of = lambda sigma: np.array([
      measured_factor('global', w, 0.8 * w, EXACT, seed, sigma=sigma)[0]
      for seed in range(30)])
  quiet, loud = of(0.03), of(0.5)
  assert np.mean(np.isclose(quiet, law, rtol=1e-5)) < 0.2
  assert 0.005 < np.std(quiet) * 0.8 < drift_compensation.MAX_ERROR
  assert np.mean(np.isclose(loud, law, rtol=1e-5)) > 0.8


def test_a_factor_goes_on_from_the_level_of_its_baseline():
  w, key = weights(), jax.random.key(0)
  level = jnp.linspace(1.0, 2.0, NUM_OUTPUTS)
  baseline = baseline_of(key, w, EXACT, level=level)
  now = drift_compensation.probe(
      jax.random.fold_in(key, 1), EXACT, read_layer(0.5 * w, EXACT),
      baseline.inputs)
  np.testing.assert_allclose(
      drift_compensation.make('column', CLOCK).factor(baseline, now, 1.0),
      2 * level, rtol=1e-4)


@pytest.mark.parametrize('name', ['global', 'column'])
@pytest.mark.parametrize('shape, rows', [
    *(pytest.param((rows, columns), 256, marks=pytest.mark.slow)
      for rows, columns in ((256, 40), (9, 40), (401, 32))),
    ((41, 40), 256), ((801, 64), 256), ((100, 5), 33)])
def test_an_adc_that_clips_does_not_bias_the_measurement(name, shape, rows):
  design = periphery.Periphery(
      adc_bits=8, adc_range=4.0, dac_bits=8, tile_rows=rows)
  w = 0.33 * jax.random.normal(jax.random.key(0), shape)
  for drifted in (0.93, 0.74, 0.58):
    found = measured_factor(name, w, drifted * w, design, sigma=0.005)
    np.testing.assert_allclose(np.mean(found), 1 / drifted, rtol=0.005)


def test_calibration_vectors_leave_headroom_whatever_their_signs():
  design = periphery.Periphery(adc_range=4.0, tile_rows=16, offset_std=0.1)
  w = weights()
  vectors = np.asarray(drift_compensation.calibration_vectors(
      design, w, jnp.float32(1.0)))
  for first in (0, 16, 32):
    tile = slice(first, min(first + 16, NUM_ROWS - 1))
    most = np.abs(vectors[:, tile]) @ np.abs(w[tile])
    bias = np.abs(w[-1]) if first == 32 else 0.0
    assert np.max(most + bias) <= 0.8 * 4.0 - 4 * 0.1
    assert np.min(np.sum(vectors[:, tile] != 0, axis=1)) >= 1
  assert np.all(np.sum(vectors != 0, axis=0) > 0)  # every row is driven
  assert set(np.unique(vectors)) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize('values, field', [
    ({'adc_range': 2.4}, 'adc_range = 2.4: must be at least 2.5'),
    ({'adc_range': 3.0, 'offset_std': 0.2}, 'adc_range = 3.0.* least 3.5'),
    ({'adc_bits': 3}, 'adc_bits = 3: must be at least 4')])
def test_an_adc_that_cannot_measure_drift_is_refused(values, field):
  drift_compensation.check_range(periphery.Periphery(adc_range=2.5))
  with pytest.raises(ValueError, match=field):
    drift_compensation.check_range(
        periphery.Periphery(**{'adc_range': 4.0, **values}))


def test_an_unknown_compensation_is_refused_by_name():
  with pytest.raises(ValueError, match="'magic'.*none.*clock.*global.*column"):
    drift_compensation.make('magic', None)
