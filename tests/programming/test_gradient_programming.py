"""A chip programmed by gradient descent on products through its periphery."""

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.crossbar import periphery
from meta_analog.programming import controller
from meta_analog.programming import gradient_programming
from tests.helpers import small_networks as small

SHAPE, NUM_DEVICES, SPAN_uS, REFERENCE_S = (16, 8), 1, 10.0, 40.0
GAIN = jnp.float32(0.1)
PAIR = small.pcm_pair(max_pulses=20)
DESIGN = periphery.Periphery(dac_bits=8, adc_bits=8, adc_range=4.0)


def targets_uS():
  return mapping.targets_from_parameters(
      0.5 * jax.random.normal(jax.random.key(0), SHAPE), SPAN_uS, 0.1,
      NUM_DEVICES)


def test_products_through_an_exact_periphery_are_those_of_the_bare_array():
  noise_free = PAIR[1]

  @jax.jit
  def products(keys):
    crossbar = array.advance(noise_free, noise_free, array.program(
        keys[0], noise_free, noise_free, targets_uS(), GAIN), 100.0)
    inputs = jax.random.normal(keys[1], (32, SHAPE[0]))
    return (gradient_programming.periphery_products(
        noise_free, periphery.Periphery(adc_range=100.0), SPAN_uS, 0.65)(
            keys[2], crossbar, inputs),
            gradient_programming.bare_products(noise_free)(
                keys[3], crossbar, inputs))

  found, expected = products(jax.random.split(jax.random.key(0), 4))
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_descent_on_measured_products_beats_the_open_loop():
  def program(num_iterations):
    program_fn = gradient_programming.make_program_fn(
        gradient_programming.Descent(interval_s=0.25), DESIGN, SPAN_uS, 0.65,
        REFERENCE_S, num_iterations=num_iterations, num_inputs=64,
        num_levels=20)
    crossbar, counts = jax.jit(lambda key: program_fn(
        key, *PAIR, targets_uS(), GAIN))(jax.random.key(1))
    assert counts.pulses == np.sum(crossbar.usage.num_pulses)
    assert np.all(crossbar.usage.num_resets == 1)
    # Programmed at time 0: the last pulse two intervals ago, RESET before all.
    assert np.min(crossbar.devices.age_s) == 0.5
    assert np.max(crossbar.devices.age_s) <= 0.25 * (num_iterations + 2)
    found = controller.difference(
        PAIR[0].read_stats(crossbar.devices, REFERENCE_S)[0])
    expected = controller.difference(targets_uS())
    return np.sqrt(np.mean(np.square(found - expected)))

  # One iteration can hardly act; sixty can.
  assert program(60) < 0.75 * program(1)
