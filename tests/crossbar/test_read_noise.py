"""Derivatives that jax is not left to take, against those that it takes."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.crossbar import read_noise
from meta_analog.networks import network as network_lib
from tests.helpers import small_networks as small

seeds = st.integers(0, 2**31 - 1)


def plain(mean, variance, noise):
  std = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
  return mean + jnp.where(variance > 0, std, 0.0) * (
      jax.lax.stop_gradient(noise))


def draws(seed):
  """Returns mean, variance, of which some is 0, and noise."""
  keys = jax.random.split(jax.random.key(seed), 4)
  mean, noise = (jax.random.normal(key, (5, 6)) for key in keys[:2])
  variance = jnp.exp(jax.random.normal(keys[2], (5, 6)))
  silent = jax.random.bernoulli(keys[3], 0.3, (5, 6))
  return mean, jnp.where(silent, 0.0, variance), noise


def test_safe_sqrt_is_the_root_and_flat_at_zero():
  x = jnp.array([0.0, 4.0])
  np.testing.assert_allclose(read_noise.safe_sqrt(x), [0.0, 2.0])
  np.testing.assert_allclose(
      jax.vmap(jax.grad(read_noise.safe_sqrt))(x), [0.0, 0.25])


@hypothesis.given(seed=seeds)
def test_noise_joins_as_written_with_all_derivatives(seed):
  @functools.partial(jax.jit, static_argnums=0)
  def both(fn, args):
    loss = lambda *args: jnp.sum(jnp.sin(fn(*args)))
    once = jax.grad(loss, argnums=(0, 1, 2))
    twice = jax.grad(lambda *args: jnp.sum(jnp.cos(once(*args)[1])), (0, 1, 2))
    return fn(*args), once(*args), twice(*args)

  args = draws(seed)
  for found, expected in zip(
      jax.tree.leaves(both(read_noise.add_noise, args)),
      jax.tree.leaves(both(plain, args)), strict=True):
    np.testing.assert_allclose(
        found, expected, rtol=1e-4, atol=1e-5 * (1 + np.max(np.abs(expected))))


def test_the_square_of_spikes_is_the_square_with_its_derivatives():
  z = jnp.array([0.0, 1.0, 1.0])
  for order in range(3):
    fns = [lambda z, square=square: jnp.sin(0.3 * square(z) + z)
           for square in (read_noise.square_of_spikes, jnp.square)]
    for _ in range(order):
      fns = [jax.grad(fn) for fn in fns]
    found, expected = (jax.vmap(fn)(z) for fn in fns)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_network_that_says_it_spikes_has_the_same_gradient():
  network = small.network(fresh_share=0.5)

  def loss(theta, spiking):
    readings = [layer._replace(reading=layer.reading._replace(
        variance=0.05 * jnp.square(layer.reading.weights)))
             for layer in network_lib.exact_readings(theta.layers, network)]
    seen = network_lib.forward(
        jax.random.key(1), network._replace(spiking=spiking), tuple(readings),
        jnp.linspace(-1.0, 1.0, 6)[:, None])
    return jnp.sum(jnp.square(seen.outputs - 1.0)), seen

  value_and_grad = jax.jit(
      jax.value_and_grad(loss, has_aux=True), static_argnums=1)
  (found, seen), gradient = value_and_grad(small.theta(), True)
  assert 0.01 < np.mean(seen.features[:, :-1]) < 0.5  # of spikes, not of none
  (expected, _), expected_gradient = value_and_grad(small.theta(), False)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient),
                  strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=1e-5 * (1e-3 + np.max(np.abs(b))))
