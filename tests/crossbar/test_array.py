"""The crossbar: weights, targets, pulses and the controller's table."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection
from meta_analog.crossbar import mapping
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.programming import pulse_response
from tests.helpers import small_crossbars
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

SHAPE = small_crossbars.SHAPE
SPAN_uS = small_crossbars.SPAN_uS
FLOOR_uS = small_crossbars.FLOOR_uS
GAIN = small_crossbars.GAIN
AGE_S = small_crossbars.AGE_S
devices_per_polarity = small_crossbars.devices_per_polarity
uniform = small_crossbars.uniform
write = small_crossbars.write
advance = small_crossbars.advance
weights_from_targets = jax.jit(array.weights_from_targets)
targets = small_crossbars.targets
program = small_crossbars.program
seeds = st.integers(0, 2**31 - 1)
table = jax.jit(pulse_response.table, static_argnums=(0, 2))
parameters_from_weights = jax.jit(
    mapping.parameters_from_weights, static_argnums=3)


# Weights, parameters and targets.


@devices_per_polarity
@hypothesis.given(seed=seeds)
def test_weights_survive_the_round_trip_through_targets(num_devices, seed):
  largest = GAIN * SPAN_uS * num_devices
  weights = uniform(seed, SHAPE, -0.99 * largest, 0.99 * largest)
  u = parameters_from_weights(weights, GAIN, SPAN_uS, num_devices)
  found = weights_from_targets(targets(u, num_devices), GAIN)
  np.testing.assert_allclose(found, weights, atol=1e-4 * largest)


def test_weight_beyond_the_range_gets_the_largest_that_fits():
  u = parameters_from_weights(
      jnp.array([[100.0, -100.0]]), GAIN, SPAN_uS, 1)
  found = weights_from_targets(targets(u, 1), GAIN)
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
      jax.jit(jax.grad(weight))(jnp.zeros(SHAPE)), GAIN * SPAN_uS * num_devices,
      rtol=1e-6)


@devices_per_polarity
def test_weights_of_pairs_equal_the_loop(num_devices):
  g_uS = uniform(1, (2, num_devices) + SHAPE, 0.0, 20.0)
  np.testing.assert_allclose(
      weights_from_targets(g_uS, GAIN),
      oracles.weights_of_pairs(np.asarray(g_uS), GAIN), rtol=1e-4, atol=1e-4)


# Pulses.


@devices_per_polarity
def test_pulses_write_only_the_devices_they_reach(num_devices):
  pair = small.pcm_pair()
  crossbar = advance(
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
      memory = 1.0 if g_uS <= np.float32(params.g_reset_uS) else 0.3
      expected += GAIN * (
          oracles.pcm_mean_pulses(params, g_uS, memory, share) - g_uS)
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
