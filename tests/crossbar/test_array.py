"""Tests of the crossbar: pairs, noise, products, pulses and keys."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection
from meta_analog.crossbar import mapping
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.programming import pulse_response
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

SHAPE = (5, 3)  # I, O
SPAN_uS, FLOOR_uS, GAIN = 10.0, 0.1, 0.3
AGE_S = jnp.float32(100.0)  # from programming to a read or a write

seeds = st.integers(0, 2**31 - 1)
devices_per_polarity = pytest.mark.parametrize('num_devices', [1, 2, 3])


def uniform(seed, shape, low, high):
  return jax.random.uniform(
      jax.random.key(seed), shape, minval=low, maxval=high)


# Compiled once for each technology and shape; a `Device` is static.
write = jax.jit(array.pulse, static_argnums=(1, 2))
table = jax.jit(pulse_response.table, static_argnums=(0, 2))


@functools.partial(jax.jit, static_argnames=('num_devices',))
def targets(u, num_devices):
  return mapping.targets_from_parameters(u, SPAN_uS, FLOOR_uS, num_devices)


def program(pair, u, num_devices, seed=0):
  return array.program(jax.random.key(seed), *pair, targets(u, num_devices),
                       GAIN)


# Weights, parameters and targets.


@devices_per_polarity
@hypothesis.given(seed=seeds)
def test_weights_survive_the_round_trip_through_targets(num_devices, seed):
  largest = GAIN * SPAN_uS * num_devices
  weights = uniform(seed, SHAPE, -0.99 * largest, 0.99 * largest)
  u = mapping.parameters_from_weights(weights, GAIN, SPAN_uS, num_devices)
  found = array.weights_from_targets(targets(u, num_devices), GAIN)
  np.testing.assert_allclose(found, weights, atol=1e-4 * largest)


def test_weight_beyond_the_range_gets_the_largest_that_fits():
  u = mapping.parameters_from_weights(
      jnp.array([[100.0, -100.0]]), GAIN, SPAN_uS, 1)
  found = array.weights_from_targets(targets(u, 1), GAIN)
  np.testing.assert_allclose(
      found, [[GAIN * SPAN_uS, -GAIN * SPAN_uS]], rtol=1e-4)


@devices_per_polarity
@hypothesis.given(seed=seeds, scale=st.floats(0.0, 1e6))
def test_targets_are_in_range_for_any_parameter(num_devices, seed, scale):
  g_uS = targets(scale * uniform(seed, SHAPE, -1.0, 1.0), num_devices)
  assert g_uS.shape == (2, num_devices) + SHAPE
  assert np.all(g_uS >= FLOOR_uS)
  assert np.all(g_uS <= (FLOOR_uS + SPAN_uS) * (1.0 + 1e-6))


def test_only_one_polarity_leaves_the_floor():
  g_uS = targets(uniform(0, SHAPE, -2.0, 2.0), 2)
  np.testing.assert_allclose(np.min(g_uS, axis=0), FLOOR_uS, rtol=1e-6)


@devices_per_polarity
def test_weight_has_its_full_gradient_at_zero(num_devices):
  def weight(u):
    targets_uS = mapping.targets_from_parameters(
        u, SPAN_uS, FLOOR_uS, num_devices)
    return jnp.sum(array.weights_from_targets(targets_uS, GAIN))

  np.testing.assert_allclose(
      jax.grad(weight)(jnp.zeros(SHAPE)), GAIN * SPAN_uS * num_devices,
      rtol=1e-6)


@devices_per_polarity
def test_weights_of_pairs_equal_the_loop(num_devices):
  g_uS = uniform(1, (2, num_devices) + SHAPE, 0.0, 20.0)
  np.testing.assert_allclose(
      array.weights_from_targets(g_uS, GAIN),
      oracles.weights_of_pairs(np.asarray(g_uS), GAIN), rtol=1e-4, atol=1e-4)


# Pulses.


@devices_per_polarity
def test_pulses_write_only_the_devices_they_reach(num_devices):
  pair = small.pcm_pair()
  crossbar = array.advance(
      *pair, program(pair, uniform(0, SHAPE, -0.5, 0.5), num_devices), AGE_S)
  n = jnp.round(uniform(1, SHAPE, -4.49, 4.49))
  new = write(jax.random.key(2), *pair, crossbar, n)
  counts = np.asarray(device_selection.pulses_per_device(
      n, num_devices, crossbar.counter))
  assert (counts == 0).any() and (counts > 0).any()
  np.testing.assert_array_equal(new.devices.num_pulses, counts)
  np.testing.assert_array_equal(new.estimate.num_pulses, counts)
  np.testing.assert_array_equal(
      new.devices.age_s, np.where(counts > 0, 0.0, AGE_S))
  np.testing.assert_array_equal(
      np.asarray(new.devices.g_uS == crossbar.devices.g_uS), counts == 0)


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
  mean, deviation = array.product(x, reading)
  np.testing.assert_allclose(
      mean, x @ weights[:-1] + weights[-1:], rtol=1e-3, atol=1e-3)
  assert not deviation.any()


@pytest.fixture(scope='module')
def noisy():
  """Returns (device, crossbar, noise-free mean, deviation of a weight)."""
  pair = small.pcm_pair()
  crossbar = program(pair, uniform(0, SHAPE, -1.0, 1.0), 2)
  mean_uS, sigma_uS = pair[0].read_stats(crossbar.devices, AGE_S)
  deviation = GAIN * np.sqrt(np.sum(np.square(sigma_uS), axis=(0, 1)))
  return (pair[0], crossbar,
          oracles.weights_of_pairs(np.asarray(mean_uS), GAIN), deviation)


def test_wholly_fresh_noise_leaves_nothing_frozen(noisy):
  device, crossbar, mean, deviation = noisy
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  np.testing.assert_allclose(reading.weights, mean, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(reading.variance, deviation ** 2, rtol=1e-4)


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
  device, crossbar, mean, deviation = noisy
  n = 16384  # catches 7 %
  read = jax.jit(jax.vmap(lambda key: array.read(
      key, device, crossbar, AGE_S, jnp.float32(share))))
  readings = read(jax.random.split(jax.random.key(1), n))
  noise = np.asarray(readings.weights) - mean
  variance = noise.var(axis=0) + np.asarray(readings.variance[0])
  assert np.all(np.abs(noise.mean(axis=0))
                <= 6.0 * deviation / np.sqrt(n) + 1e-5)
  assert np.all(np.abs(variance / deviation ** 2 - 1.0)
                < 6.0 * np.sqrt(2.0 / n) + 1e-4)


def test_product_has_the_law_of_weights_read_anew(noisy):
  # The reference reads every device of the array for every product.
  device, crossbar, _, _ = noisy
  n = 16384  # catches 7 % of a variance
  x = jnp.array([0.7, -1.2, 0.0, 1.0])
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  mean, deviation = array.product(x[None], reading)
  mean, deviation = np.asarray(mean[0]), np.asarray(deviation[0])

  def one_read(key):
    g_uS = device.read(key, crossbar.devices, AGE_S)
    w = array.weights_from_targets(g_uS, GAIN)
    return x @ w[:-1] + w[-1]

  draws = np.asarray(jax.jit(jax.vmap(one_read))(
      jax.random.split(jax.random.key(1), n)))
  assert np.all(np.abs(draws.mean(axis=0) - mean)
                < 6.0 * deviation / np.sqrt(n))
  assert np.all(np.abs(draws.var(axis=0) / deviation ** 2 - 1.0)
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
  device, crossbar, _, deviation = noisy
  reading = array.read(jax.random.key(0), device, crossbar, AGE_S, 1.0)
  found = array.product(jnp.zeros((2, SHAPE[0] - 1)), reading)[1]
  np.testing.assert_allclose(
      found, np.tile(deviation[-1], (2, 1)), rtol=1e-4)


@pytest.mark.parametrize('variance', [0.0, 1.0])
def test_gradient_at_silence_is_finite(variance):
  def noise(x, variance):
    reading = array.Reading(jnp.ones(SHAPE), variance)
    mean, deviation = array.product(x, reading)
    return jnp.sum(mean) + jnp.sum(deviation)

  silent_bias = jnp.full(SHAPE, variance).at[-1].set(0.0)
  gradients = jax.grad(noise, argnums=(0, 1))(
      jnp.zeros((2, SHAPE[0] - 1)), silent_bias)
  assert all(np.all(np.isfinite(g)) for g in gradients)


# The controller's table.


@devices_per_polarity
def test_pulse_responses_rise_from_zero(num_devices):
  pair = small.pcm_pair()
  crossbar = program(pair, uniform(0, SHAPE, -1.0, 1.0), num_devices)
  response = np.asarray(table(
      pair[1], crossbar, 7, jnp.float32(51.0)))
  assert response.shape == (2, 8) + SHAPE
  np.testing.assert_allclose(response[:, 0], 0.0, atol=1e-6)
  assert np.all(np.diff(response, axis=1) > 0)


@devices_per_polarity
def test_pulse_responses_equal_the_recursion_of_the_mean_pulse(num_devices):
  # Without drift, so that only the pulses change the conductance.
  params = pcm.PCMParams(
      nu_mean=0.0, nu_std=0.0, pulse_memory_after_program=0.3)
  pair = small.pcm_pair(params)
  u = uniform(0, (2, 2), -1.0, 1.0)
  crossbar = program(pair, u, num_devices)
  response = np.asarray(table(
      pair[1], crossbar, 5, jnp.float32(51.0)))
  start_uS = np.asarray(targets(u, num_devices))
  for p, k, i, o in np.ndindex(2, 6, 2, 2):
    expected = 0.0
    for d in range(num_devices):
      share = (k + num_devices - 1 - d) // num_devices
      g_uS = float(start_uS[p, d, i, o])
      expected += GAIN * (
          oracles.pcm_mean_pulses(params, g_uS, 0.3, share) - g_uS)
    np.testing.assert_allclose(
        response[p, k, i, o], expected, rtol=1e-3, atol=1e-4)


def test_pulse_response_of_the_ideal_device_is_a_ruler():
  device = ideal.make(ideal.IdealParams(step_uS=0.5))
  crossbar = program((device, device), uniform(0, SHAPE, -1.0, 1.0), 2)
  response = table(device, crossbar, 3, jnp.float32(0.0))
  for k in range(4):
    np.testing.assert_allclose(
        response[:, k], 0.5 * GAIN * k, rtol=1e-3, atol=1e-4)


def test_pulse_responses_do_not_see_the_chip():
  pair = small.pcm_pair()
  first, second = (program(pair, uniform(0, SHAPE, -1.0, 1.0), 2, seed)
                   for seed in (1, 2))
  assert not np.array_equal(first.devices.g_uS, second.devices.g_uS)
  np.testing.assert_array_equal(*(
      table(pair[1], crossbar, 3, jnp.float32(50.0))
      for crossbar in (first, second)))


# Keys: what is drawn for one thing is not drawn again for another.


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


def test_frozen_reads_are_independent_between_forward_passs(wide):
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
