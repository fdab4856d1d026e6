"""Reads and products of the crossbar, and independence of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.devices import ideal
from tests.helpers import small_crossbars
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

SHAPE = small_crossbars.SHAPE
SPAN_uS = small_crossbars.SPAN_uS
GAIN = small_crossbars.GAIN
AGE_S = small_crossbars.AGE_S
devices_per_polarity = small_crossbars.devices_per_polarity
uniform = small_crossbars.uniform
write = small_crossbars.write
program = small_crossbars.program


# Reads and products.


@pytest.mark.parametrize('share', [0.0, 0.65, 1.0])
@devices_per_polarity
def test_ideal_crossbar_is_exact(num_devices, share):
  u = uniform(0, SHAPE, -2.0, 2.0)
  pair = ideal.make(), ideal.make()
  reading = array.read(jax.random.key(1), pair[0],
                       program(pair, u, num_devices), AGE_S, share)
  weights = GAIN * SPAN_uS * num_devices * np.tanh(np.asarray(u))
  np.testing.assert_allclose(reading.weights, weights, rtol=1e-4, atol=1e-4)
  x = np.asarray(uniform(2, (4, SHAPE[0] - 1), -1.0, 1.0))
  mean, std = array.product(x, reading)
  np.testing.assert_allclose(
      mean, x @ weights[:-1] + weights[-1:], rtol=1e-3, atol=1e-3)
  assert not std.any()


@pytest.fixture(scope='module')
def noisy():
  """Returns (device, crossbar, noise-free mean, std of a weight)."""
  pair = small.pcm_pair()
  crossbar = program(pair, uniform(0, SHAPE, -1.0, 1.0), 2)
  mean_uS, sigma_uS = pair[0].read_stats(crossbar.devices, AGE_S)
  std = GAIN * np.sqrt(np.sum(np.square(sigma_uS), axis=(0, 1)))
  return (pair[0], crossbar,
          oracles.weights_of_pairs(np.asarray(mean_uS), GAIN), std)


def test_wholly_fresh_noise_leaves_nothing_frozen(noisy):
  device, crossbar, mean, std = noisy
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  np.testing.assert_allclose(reading.weights, mean, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(reading.variance, std ** 2, rtol=1e-4)


def test_wholly_frozen_noise_leaves_nothing_fresh(noisy):
  device, crossbar, mean, _ = noisy
  key = jax.random.key(0)
  reading = array.read(key, device, crossbar, AGE_S, jnp.float32(0.0))
  assert not reading.variance.any()
  assert np.all(np.abs(reading.weights - mean) > 0)
  # A share of 0 that is not traced leaves out the variance, and nothing else.
  known = array.read(
      jax.random.clone(key), device, crossbar, AGE_S, 0.0)
  assert known.variance is None
  np.testing.assert_array_equal(known.weights, reading.weights)


def test_frozen_noise_scales_with_the_root_of_its_share(noisy):
  device, crossbar, mean, _ = noisy
  noise = lambda share: np.asarray(array.read(
      jax.random.key(5), device, crossbar, AGE_S, share).weights) - mean
  np.testing.assert_allclose(
      noise(0.75), 0.5 * noise(0.0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('share', [0.0, 0.65, 1.0])
def test_frozen_and_fresh_variance_sum_to_that_of_a_read(noisy, share):
  device, crossbar, mean, std = noisy
  n = 16384  # catches 7 %
  read = jax.jit(jax.vmap(lambda key: array.read(
      key, device, crossbar, AGE_S, jnp.float32(share))))
  readings = read(jax.random.split(jax.random.key(1), n))
  noise = np.asarray(readings.weights) - mean
  variance = noise.var(axis=0) + np.asarray(readings.variance[0])
  assert np.all(np.abs(noise.mean(axis=0))
                <= 6.0 * std / np.sqrt(n) + 1e-5)
  assert np.all(np.abs(variance / std ** 2 - 1.0)
                < 6.0 * np.sqrt(2.0 / n) + 1e-4)


def test_product_has_the_law_of_weights_read_anew(noisy):
  # The reference reads every device of the array for every product.
  device, crossbar, _, _ = noisy
  n = 16384  # catches 7 % of a variance
  x = jnp.array([0.7, -1.2, 0.0, 1.0])
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  mean, std = array.product(x[None], reading)
  mean, std = np.asarray(mean[0]), np.asarray(std[0])

  def one_read(key):
    g_uS = device.read(key, crossbar.devices, AGE_S)
    w = array.weights_from_targets(g_uS, GAIN)
    return x @ w[:-1] + w[-1]

  draws = np.asarray(jax.jit(jax.vmap(one_read))(
      jax.random.split(jax.random.key(1), n)))
  assert np.all(np.abs(draws.mean(axis=0) - mean)
                < 6.0 * std / np.sqrt(n))
  assert np.all(np.abs(draws.var(axis=0) / std ** 2 - 1.0)
                < 6.0 * np.sqrt(2.0 / n))
  r = np.corrcoef(draws.T) - np.eye(SHAPE[1])
  assert np.max(np.abs(r)) < 6.0 / np.sqrt(n)


def test_product_over_time_equals_the_product_of_each_step(noisy):
  device, crossbar, _, _ = noisy
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 0.65)
  x = uniform(3, (6, 2, SHAPE[0] - 1), -1.0, 1.0)
  together = array.product(x, reading)
  for t in range(6):
    for whole, part in zip(together, array.product(x[t], reading), strict=True):
      np.testing.assert_allclose(whole[t], part, rtol=1e-4, atol=1e-5)


def test_silent_inputs_leave_the_noise_of_the_bias(noisy):
  device, crossbar, _, std = noisy
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  found = array.product(jnp.zeros((2, SHAPE[0] - 1)), reading)[1]
  np.testing.assert_allclose(
      found, np.tile(std[-1], (2, 1)), rtol=1e-4)


@pytest.mark.parametrize('variance', [0.0, 1.0])
def test_gradient_at_silence_is_finite(variance):
  def noise(x, variance):
    reading = array.Reading(jnp.ones(SHAPE), variance)
    mean, std = array.product(x, reading)
    return jnp.sum(mean) + jnp.sum(std)

  silent_bias = jnp.full(SHAPE, variance).at[-1].set(0.0)
  gradients = jax.grad(noise, argnums=(0, 1))(
      jnp.zeros((2, SHAPE[0] - 1)), silent_bias)
  assert all(np.all(np.isfinite(g)) for g in gradients)


def assert_uncorrelated(rows):
  """Fails if two of the rows [R, n] correlate by more than 6 SE."""
  rows = np.asarray(rows)
  r = np.corrcoef(rows) - np.eye(len(rows))
  assert np.all(rows.std(axis=1) > 0)
  assert np.max(np.abs(r)) < 6.0 / np.sqrt(rows.shape[1])


@pytest.fixture(scope='module')
def wide():
  """Returns the pair and targets [2, 2, 64, 64] amid the range."""
  return small.pcm_pair(), jnp.full((2, 2, 64, 64), 6.0)


# Keys: what is drawn for one thing is not drawn again for another.


def test_programming_errors_of_chips_and_devices_are_independent(wide):
  pair, targets_uS = wide
  errors = [
      array.program(
          jax.random.key(seed), *pair, targets_uS, GAIN).devices.g_uS
      - targets_uS for seed in (0, 1)
  ]
  assert_uncorrelated(jnp.stack(errors).reshape(8, -1))


def test_drift_exponents_do_not_follow_programming_errors(wide):
  pair, targets_uS = wide
  devices = array.program(
      jax.random.key(0), *pair, targets_uS, GAIN).devices
  rows = jnp.stack([devices.g_uS, devices.nu])
  assert_uncorrelated(rows.reshape(8, -1))


def test_pulse_noise_of_devices_is_independent(wide):
  pair, targets_uS = wide
  crossbar = array.program(
      jax.random.key(0), *pair, targets_uS, GAIN)
  steps = []
  for seed, n in ((1, 2.0), (2, -2.0)):
    new = write(jax.random.key(seed), *pair, crossbar,
                jnp.full((64, 64), n))
    polarity = 0 if n > 0 else 1
    start_uS = crossbar.devices.g_uS[polarity]
    steps.append(new.devices.g_uS[polarity] - start_uS)
  rows = jnp.stack(steps).reshape(4, -1)
  # The mean step falls with G; take that line out of every row.
  start = np.asarray(crossbar.devices.g_uS).reshape(4, -1)
  rows = [row - np.polyval(np.polyfit(g, row, 1), g)
          for row, g in zip(np.asarray(rows), start, strict=True)]
  assert_uncorrelated(rows)


def test_frozen_reads_are_independent_between_forward_passes(wide):
  pair, targets_uS = wide
  crossbar = array.program(
      jax.random.key(0), *pair, targets_uS, GAIN)
  mean = array.read(
      jax.random.key(9), pair[0], crossbar, AGE_S, 1.0).weights
  noise = [
      array.read(jax.random.key(seed), pair[0], crossbar, AGE_S, 0.0).weights
      - mean for seed in (1, 2, 3)
  ]
  assert_uncorrelated(jnp.stack(noise).reshape(3, -1))
