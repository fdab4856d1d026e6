"""Gradients through the analog spiking network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import small_learner
from tests.helpers import small_networks as small

T_READ_S = small_learner.T_READ_S
jitted = small_learner.jitted
support = small_learner.support
equal = small_learner.equal


def test_gradient_of_the_output_layer_equals_finite_differences():
  # No spike lies between the output layer's parameters and the output.
  learner = jitted('ideal')
  theta, x = small.theta(), support().x

  def total(u):
    layers = theta.layers[:-1] + (theta.layers[-1]._replace(u=u),)
    state = learner.init(jax.random.key(0), theta._replace(layers=layers))
    outputs = learner.predict(jax.random.key(1), state, x, T_READ_S)[0]
    return jnp.sum(jnp.square(outputs))

  u = theta.layers[-1].u
  found, total = np.asarray(jax.jit(jax.grad(total))(u)), jax.jit(total)
  step = 1e-2
  for i in range(u.shape[0]):
    change = jnp.zeros_like(u).at[i].set(step)
    expected = (total(u + change) - total(u - change)) / (2.0 * step)
    np.testing.assert_allclose(
        found[i, 0], expected, rtol=2e-2, atol=1e-2 * np.abs(found).max())


def query_loss(theta, learner, samples, chip_key=0):
  state = learner.init(jax.random.key(chip_key), theta)
  new, _ = learner.update(jax.random.key(1), state, samples, T_READ_S)
  outputs, _ = learner.predict(
      jax.random.key(2), new, samples.x, jnp.float32(151.0))
  return jnp.mean(jnp.square(outputs - samples.y))


def value_and_gradient(learner):
  """Returns the query loss and its gradient with respect to theta."""
  loss = lambda theta: query_loss(theta, learner, support())
  value, gradient = jax.jit(jax.value_and_grad(loss))(small.theta())
  return float(value), gradient


@pytest.fixture(scope='module')
def all_layers():
  """Returns {first_order: (loss, gradient)} with every layer written."""
  return {first_order: value_and_gradient(jitted(
      'ideal', layers='all', first_order=first_order))
          for first_order in (False, True)}


@pytest.mark.slow
def test_first_order_changes_the_gradient_of_all_layers_not_the_value(
    all_layers):
  assert all_layers[False][0] == all_layers[True][0]
  assert not equal(all_layers[False][1], all_layers[True][1])


@pytest.mark.slow
def test_gradients_of_all_layers_are_finite_and_reach_every_layer(all_layers):
  for _, gradient in all_layers.values():
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert all(np.any(layer.u != 0) for layer in gradient.layers)


@pytest.mark.slow
def test_learned_rates_get_a_gradient_at_either_order(all_layers):
  for first_order in (False, True):
    assert np.all(all_layers[first_order][1].rule.log_rate != 0)


def test_first_order_changes_the_gradient_of_one_layer_not_the_value():
  second, first = (value_and_gradient(jitted('ideal', first_order=flag))
                   for flag in (False, True))
  assert second[0] == first[0]
  assert not equal(second[1], first[1])


def test_gradient_at_silent_hidden_layers_is_finite():
  learner = jitted('pcm', fresh_share=1.0)
  theta = small.theta()
  theta = theta._replace(layers=tuple(
      layer._replace(u=-0.5 * jnp.ones_like(layer.u))
      for layer in theta.layers))
  gradient = jax.jit(jax.grad(query_loss), static_argnums=1)(
      theta, learner, support())
  assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
