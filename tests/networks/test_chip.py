"""Chips: calibration, and when each array is what it is."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock
from meta_analog.crossbar import array
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import periphery
from meta_analog.networks import chip as chip_lib
from meta_analog.programming import controller
from meta_analog.programming import protocols
from meta_analog.programming import refresh
from meta_analog.programming import verify_options
from meta_analog.programming import writing
from tests.helpers import small_networks as small

CALIBRATE_S, WRITE_S = 40.0, 101.0
OPTIONS = verify_options.VerifyOptions(
    max_rounds=30, tolerance_uS=0.7, delay_s=0.25)
HARDWARE = chip_lib.Hardware(
    *small.pcm_pair(),
    small.network(periphery=periphery.Periphery(adc_range=100.0),
                  compensation='global', clock=lambda age_s: age_s),
    write_fn=writing.verified(OPTIONS, bidirectional=False))


@functools.cache
def made():
  return jax.jit(lambda key: chip_lib.program_chip(
      key, HARDWARE, small.theta().layers, CALIBRATE_S))(jax.random.key(0))


def written(chip, hardware, change, date):
  """Returns the chip after a write of one pulse on half the pairs, or of 0."""
  half = jnp.arange(9)[:, None] % 2 == 0
  request = protocols.Request(
      jnp.where(half, change, 0.0), lambda crossbar, delta_w: jnp.sign(delta_w),
      jnp.float32(50.0))
  return chip_lib.write_layer(
      jax.random.key(1), hardware, chip, 2, request, date)


@jax.jit
def write(chip):
  """Returns the chip after a verified write."""
  return written(chip, HARDWARE, 1.0, clock.exact(WRITE_S))


# All pairs that the rule finds are RESET and written to the difference they
# had; nothing else is asked for.
REFRESH = HARDWARE._replace(write_fn=writing.open_loop(
    writing.threshold_refresh(
        refresh.Threshold(level_uS=1.0, difference_uS=9.0), num_reads=4,
        fresh_share=0.65, num_levels=7)))


@functools.cache
def shifted(name):
  """Returns a function of the date that the chip of `made` is programmed at."""
  hardware, change = {'write': (HARDWARE, 1.0), 'refresh': (REFRESH, 0.0)}[name]

  @jax.jit
  def run(date):
    chip = made()
    chip = chip._replace(
        start=clock.later(chip.start, date),
        times=tuple(clock.later(time, date) for time in chip.times))
    chip, counts = written(chip, hardware, change, clock.later(date, WRITE_S))
    return (chip.crossbars, counts, tuple(
        clock.elapsed_s(time, date) for time in chip.times))

  return run


def test_each_layer_is_calibrated_by_reads_of_its_own_array():
  chip = made()
  for baseline, crossbar in zip(chip.baselines, chip.crossbars):
    expected, outputs = (np.ravel(x) for x in (
        baseline.expected, baseline.outputs))
    assert np.any(expected != outputs)
    assert np.corrcoef(expected, outputs)[0, 1] > 0.8
    vectors = np.asarray(baseline.inputs)
    weights = jax.jit(lambda crossbar: array.weights_from_targets(
        controller.estimated_uS(
            HARDWARE.noise_free_device, crossbar, CALIBRATE_S),
        crossbar.gain_per_uS))(crossbar)
    np.testing.assert_allclose(
        baseline.expected[:, 0], vectors @ weights[:-1], atol=1e-4)


def test_a_layer_is_calibrated_by_the_model_of_its_own_device():
  # The time that the drift law refers to; the exponent is part of the state.
  _, model = small.pcm_pair(small.pcm.PCMParams(t0_s=386.0))
  for i, ratio in ((0, 10.0 ** 0.04), (2, 1.0)):
    found, common = (jax.jit(lambda chip, i=i, hardware=hardware: (
        chip_lib.calibrate(jax.random.key(0), hardware, chip, i,
                           clock.exact(1e5), 1.0).baselines[i]))(made())
                     for hardware in (
                         HARDWARE._replace(hidden_noise_free=model), HARDWARE))
    np.testing.assert_allclose(
        found.expected, ratio * common.expected, rtol=1e-3, atol=1e-5)


def test_a_read_and_the_measurement_of_drift_have_keys_of_their_own(
    monkeypatch):
  keys, chip = [], made()
  for module, name in ((array, 'read'), (drift_compensation, 'probe')):
    def record(key, *rest, fn=getattr(module, name)):
      keys.append(tuple(np.asarray(jax.random.key_data(key))))
      return fn(key, *rest)

    monkeypatch.setattr(module, name, record)
  date = clock.exact(1e5)
  chip_lib.calibrate(jax.random.key(0), HARDWARE, chip, 2, date, 1.0)
  chip_lib.read_layer(jax.random.key(1), HARDWARE, chip, 2, date)
  assert len(keys) == 4 and len({*keys}) == 4


def test_offsets_grow_with_the_devices_of_a_polarity():
  def offsets(num_devices):
    network = small.network(
        num_devices, periphery=periphery.Periphery(offset_std=0.1))
    chip = jax.jit(lambda layers: chip_lib.program_chip(
        jax.random.key(0), chip_lib.Hardware(*small.pcm_pair(), network),
        layers, CALIBRATE_S))(small.theta().layers)
    return [np.asarray(columns.offset) for columns in chip.columns]

  # The full scale of a column is that of its largest weight.
  one, two = offsets((1, 1, 1)), offsets((1, 1, 2))
  np.testing.assert_array_equal(two[0], one[0])
  np.testing.assert_allclose(two[2], 2.0 * one[2], rtol=1e-6)
  assert np.all(one[2] != 0)


def test_a_baseline_knows_the_mean_law_at_its_date():
  for baseline in made().baselines:
    np.testing.assert_allclose(baseline.law, CALIBRATE_S, rtol=1e-6)


def test_a_write_ends_as_much_later_as_its_devices_are_older():
  chip, counts = write(made())
  elapsed_s = clock.elapsed_s(chip.times[2], WRITE_S)
  assert 0.35 - 1e-4 < elapsed_s <= verify_options.longest_s(OPTIONS) + 1e-3
  devices = chip.crossbars[2].devices
  usage = chip.crossbars[2].usage
  assert counts.pulses == np.sum(usage.num_pulses) > 0
  untouched = np.asarray(usage.num_pulses + usage.num_resets) == 0
  np.testing.assert_allclose(
      devices.age_s[untouched], WRITE_S + elapsed_s, rtol=1e-6)
  assert np.all(devices.age_s[~untouched] <= elapsed_s + 1e-3)
  np.testing.assert_array_equal(
      devices.age_s, chip.crossbars[2].estimate.age_s)


def test_a_write_leaves_the_other_layers_where_and_when_they_were():
  before, (after, _) = made(), write(made())
  same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)
  same(before.crossbars[:2], after.crossbars[:2])
  same(before.times[:2], after.times[:2])
  same(before.start, after.start)
  same(before.baselines, after.baselines)


@pytest.mark.parametrize('name', ['write', 'refresh'])
@hypothesis.given(shift_s=st.integers(-315360000, 315360000))
def test_a_shift_of_all_dates_changes_no_bit_of_a_write(name, shift_s):
  crossbars, counts, ages_s = shifted(name)(clock.exact(0.0))
  assert counts.pulses > 0 and (name == 'write' or counts.resets > 0)
  found = shifted(name)(clock.exact(float(shift_s)))
  jax.tree.map(np.testing.assert_array_equal, found,
               (crossbars, counts, ages_s))
