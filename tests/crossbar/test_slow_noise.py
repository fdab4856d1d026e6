"""Slow read noise: what two reads share follows the time between them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import slow_noise
from meta_analog.programming import controller
from tests.helpers import small_networks as small
from tests.oracles import slow_noise as oracle

SHAPE = (2, 1, 300, 100)


@functools.cache
def crossbar(age_s):
  """Returns 60,000 devices of one state, of this age."""
  device, model = small.pcm_pair()
  made = array.program(
      jax.random.key(0), device, model, jnp.full(SHAPE, 5.0), 1.0)
  made = made._replace(slow=slow_noise.start(jax.random.key(1), SHAPE))
  return array.advance(device, model, made, age_s)


@functools.cache
def two_reads():
  """Returns a function to the noise of two reads, in standard deviations."""
  device, model = small.pcm_pair()

  @jax.jit
  def run(keys, made, gap_s, fresh_share, num_reads):
    noises = []
    for key in keys:
      mean_uS, sigma_uS = device.read_stats(made.devices, 0.0)
      read_uS, made = controller.measure(
          key, device, made, num_reads, fresh_share)
      noises.append((read_uS - mean_uS) / sigma_uS)
      made = array.advance(device, model, made, gap_s)
    return noises

  return run


def test_parts_follow_the_logarithm_of_the_time_between_reads():
  year_s = oracle.YEAR_S
  for age_s in (100.0, 251.0, 3600.0, 86400.0, year_s, 10 * year_s):
    gaps_s = np.geomspace(0.3, min(age_s / 5, 1e3), 50)
    found = np.array([oracle.of_parts(age_s, gap_s) for gap_s in gaps_s])
    np.testing.assert_allclose(found, oracle.law(age_s, gaps_s), atol=0.016)


@pytest.mark.parametrize('age_s,gap_s,share', [
    (100.0, 0.35, 0.29), (251.0, 20.0, 0.12), (100.0, 1e5, 0.0),
    (86400.0, 20.0, 0.31), (10 * oracle.YEAR_S, 64.0, 0.445)])
def test_reads_share_what_the_law_says(age_s, gap_s, share):
  """Bounds are 5 standard errors of 60,000 devices."""
  first, second = (np.asarray(x).ravel() for x in two_reads()(
      jax.random.split(jax.random.key(2)), crossbar(age_s), gap_s,
      0.65, 1))
  found = np.mean(first * second)
  assert found == pytest.approx(oracle.of_parts(age_s, gap_s), abs=0.02)
  assert found == pytest.approx(share, abs=0.03)
  for noise in (first, second):
    assert np.mean(noise) == pytest.approx(0.0, abs=0.02)
    assert np.var(noise) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize('num_reads,fresh_share', [
    (16, 0.65), (16, 0.14), (10**6, 1.0)])
def test_averaged_reads_keep_their_slow_noise(num_reads, fresh_share):
  age_s = 251.0
  first, second = (np.asarray(x).ravel() for x in two_reads()(
      jax.random.split(jax.random.key(3)), crossbar(age_s), 20.0, fresh_share,
      num_reads))
  slow = oracle.law(age_s, 0.1)
  fresh = min(fresh_share, 1.0 - slow)
  assert np.mean(first * second) == pytest.approx(
      oracle.of_parts(age_s, 20.0), abs=0.02)
  assert np.var(second) == pytest.approx(
      1.0 - fresh + fresh / num_reads, abs=0.03)


def test_products_and_single_reads_meet_the_same_slow_noise():
  device, _ = small.pcm_pair()
  made = array.draw_slow(jax.random.key(4), crossbar(100.0))
  mean_uS, sigma_uS = device.read_stats(made.devices, 0.0)
  single_uS, frozen, fresh = slow_noise.add(made.slow, mean_uS, sigma_uS, 1.0)
  reading = array.read(jax.random.key(5), device, made, 0.0, 1.0)
  np.testing.assert_allclose(
      reading.weights, controller.difference(single_uS), rtol=1e-4, atol=1e-4)
  # All that is not slow is fresh where everything is to be.
  assert float(frozen) == 0.0
  np.testing.assert_allclose(
      reading.variance, fresh * jnp.sum(sigma_uS**2, axis=(0, 1)), rtol=1e-5)
  assert float(fresh) == pytest.approx(1.0 - oracle.law(100.0, 0.1), abs=1e-5)


def test_young_devices_have_no_slow_noise():
  assert float(jnp.sum(slow_noise.shares(jnp.float32(0.05)))) == 0.0
  assert float(jnp.sum(slow_noise.shares(jnp.float32(1.0)))) == pytest.approx(
      oracle.law(1.0, 0.1), abs=1e-6)
