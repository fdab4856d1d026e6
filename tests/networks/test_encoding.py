"""Input encodings: latency, rate, events and the population code."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.networks import encoding
from meta_analog.networks import network
from tests.helpers import small_networks

NUMBERS = st.lists(st.floats(-1.0, 1.0, width=32), min_size=5, max_size=5)
latency, rate, events = (
    jax.jit(encode_fn, static_argnums=2)
    for encode_fn in (encoding.latency, encoding.rate, encoding.events))
population_code = jax.jit(encoding.population_code, static_argnums=1)


def _exact(net):
  """Returns the readings of the small net without errors."""
  return jax.jit(lambda layers: network.exact_readings(layers, net))(
      small_networks.theta().layers)


def test_latency_is_one_spike_the_earlier_the_larger_the_input():
  x = jnp.array([[1.0, 0.75, 0.5, 0.01, 0.0]])
  spikes = np.asarray(latency(jax.random.key(0), x, 9))
  assert spikes.shape == (9, 1, 5)
  assert spikes.sum(axis=0).tolist() == [[1, 1, 1, 1, 0]]
  assert np.argmax(spikes, axis=0).tolist() == [[0, 2, 4, 8, 0]]


def test_a_rate_is_the_chance_of_a_spike():
  x = np.array([[0.0, 0.2, 0.7, 1.0]], np.float32)
  num_steps = 4096  # catches 10 % of 0.2
  spikes = np.asarray(rate(jax.random.key(0), x, num_steps))
  assert set(np.unique(spikes)) == {0.0, 1.0}
  error = 6 * np.sqrt(x * (1 - x) / num_steps)
  assert np.all(np.abs(spikes.mean(axis=0) - x) <= error)
  # Steps are independent: two in a row as often as chance says.
  both = (spikes[1:] * spikes[:-1]).mean(axis=0)[0, 2]
  assert abs(both - 0.49) < 6 * np.sqrt(0.49 / num_steps)


def test_events_keep_their_time_step():
  x = np.arange(24.0, dtype=np.float32).reshape(2, 12)
  steps = np.asarray(events(jax.random.key(0), x, 3))
  for t in range(3):
    np.testing.assert_array_equal(steps[t], x[:, 4 * t:4 * t + 4])


def test_the_encoding_follows_the_input_converter():
  net = small_networks.network()
  readings = _exact(net)
  net = net._replace(
      encode_fn=encoding.latency,
      periphery=net.periphery._replace(dac_range=1.0, dac_bits=2))
  outputs = jax.jit(lambda x: network.forward(
      jax.random.key(0), net, readings, jnp.reshape(x, (1, 1))).outputs)
  np.testing.assert_array_equal(outputs(0.6), outputs(1.0))
  assert np.all(outputs(0.4) != outputs(1.0))


def test_constant_events_are_a_constant_current():
  net = small_networks.network()
  readings = _exact(net)
  x = jnp.array([[0.9], [-0.4]])
  forward = lambda net, x: jax.jit(lambda x: network.forward(
      jax.random.key(0), net, readings, x))(x)
  still = forward(net, x)
  moving = forward(net._replace(encode_fn=encoding.events),
                   jnp.tile(x, (1, small_networks.NUM_STEPS)))
  assert still.features[:, :-1].max() > 0.1
  np.testing.assert_allclose(moving.outputs, still.outputs, rtol=1e-5)
  np.testing.assert_allclose(moving.features, still.features, rtol=1e-5)


@hypothesis.given(
    seed=st.integers(0, 2**31 - 1), num_channels=st.sampled_from([2, 3, 8]),
    numbers=NUMBERS)
def test_product_with_a_population_code_interpolates_the_weights(
    seed, num_channels, numbers):
  weights = np.random.default_rng(seed).normal(size=num_channels)
  code = population_code(
      np.asarray(numbers, np.float32)[:, None], num_channels)
  expected = np.interp(
      numbers, np.linspace(-1.0, 1.0, num_channels), weights)
  np.testing.assert_allclose(
      np.asarray(code) @ weights, expected, atol=1e-5)


def test_numbers_that_come_together_have_channels_of_their_own():
  x = jax.random.uniform(jax.random.key(0), (4, 2), minval=-1.0)
  code = encoding.population_code(x, 3)
  alone = [encoding.population_code(x[:, i:i + 1], 3) for i in range(2)]
  np.testing.assert_array_equal(code, jnp.concatenate(alone, axis=1))


def test_one_channel_leaves_numbers_as_they_are():
  x = jnp.array([[-3.0], [0.5]])
  np.testing.assert_array_equal(encoding.population_code(x, 1), x)
