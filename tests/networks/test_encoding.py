"""How inputs enter: spikes in time, spikes by chance, events as they come."""

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.networks import encoding
from meta_analog.networks import network
from tests.helpers import small_networks


def test_latency_is_one_spike_the_earlier_the_larger():
  x = jnp.array([[1.0, 0.75, 0.5, 0.01, 0.0]])
  spikes = encoding.latency(jax.random.key(0), x, 9)
  assert spikes.shape == (9, 1, 5)
  assert spikes.sum(axis=0).tolist() == [[1, 1, 1, 1, 0]]
  assert jnp.argmax(spikes, axis=0).tolist() == [[0, 2, 4, 8, 0]]


def test_a_rate_is_the_chance_of_a_spike():
  x = jnp.array([[0.0, 0.2, 0.7, 1.0]])
  num_steps = 4096  # catches 10 % of 0.2
  spikes = encoding.rate(jax.random.key(0), x, num_steps)
  assert set(np.unique(spikes)) == {0.0, 1.0}
  error = 6 * np.sqrt(np.asarray(x * (1 - x)) / num_steps)
  assert np.all(np.abs(spikes.mean(axis=0) - x) <= error)
  # Steps are independent: two in a row as often as chance says.
  both = (spikes[1:] * spikes[:-1]).mean(axis=0)[0, 2]
  assert abs(both - 0.49) < 6 * np.sqrt(0.49 / num_steps)


def test_events_keep_their_time_step():
  x = jnp.arange(24.0).reshape(2, 12)
  steps = encoding.events(jax.random.key(0), x, 3)
  for t in range(3):
    np.testing.assert_array_equal(steps[t], x[:, 4 * t:4 * t + 4])


def test_a_code_takes_what_the_converter_gives():
  net = small_networks.network()
  views = network.exact_readings(small_networks.theta().layers, net)
  net = net._replace(
      encode_fn=encoding.latency,
      periphery=net.periphery._replace(dac_range=1.0, dac_bits=2))
  outputs = jax.jit(lambda x: network.forward(
      jax.random.key(0), net, views, jnp.reshape(x, (1, 1))).outputs)
  np.testing.assert_array_equal(outputs(0.6), outputs(1.0))
  assert np.all(outputs(0.4) != outputs(1.0))


def test_constant_events_are_a_constant_current():
  net = small_networks.network()
  views = network.exact_readings(small_networks.theta().layers, net)
  x = jnp.array([[0.9], [-0.4]])
  still = network.forward(jax.random.key(0), net, views, x)
  moving = network.forward(
      jax.random.key(0), net._replace(encode_fn=encoding.events), views,
      jnp.tile(x, (1, small_networks.NUM_STEPS)))
  assert still.features[:, :-1].max() > 0.1
  np.testing.assert_allclose(moving.outputs, still.outputs, rtol=1e-5)
  np.testing.assert_allclose(moving.features, still.features, rtol=1e-5)
