"""Chips: calibration, and when each array is what it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import clock
from meta_analog.crossbar import array
from meta_analog.crossbar import periphery
from meta_analog.networks import chip as chip_lib
from meta_analog.programming import controller
from meta_analog.programming import protocols
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


@jax.jit
def write(chip):
  """Returns the chip after a verified write of one pulse on half the pairs."""
  half = jnp.arange(9)[:, None] % 2 == 0
  request = protocols.Request(
      jnp.where(half, 1.0, 0.0), lambda crossbar, delta_w: jnp.sign(delta_w),
      jnp.float32(50.0))
  return chip_lib.write_layer(
      jax.random.key(1), HARDWARE, chip, 2, request, clock.exact(WRITE_S))


def test_each_layer_is_calibrated_by_reads_of_its_own_array():
  chip = made()
  for baseline, crossbar in zip(chip.baselines, chip.crossbars):
    expected, outputs = (np.ravel(x) for x in (
        baseline.expected, baseline.outputs))
    assert np.any(expected != outputs)
    assert np.corrcoef(expected, outputs)[0, 1] > 0.8
    vectors = np.asarray(baseline.inputs)
    weights = array.weights_from_targets(controller.estimated_uS(
        HARDWARE.noise_free_device, crossbar, CALIBRATE_S),
                                         crossbar.gain_per_uS)
    np.testing.assert_allclose(
        baseline.expected[:, 0], vectors @ weights[:-1], atol=1e-4)


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
