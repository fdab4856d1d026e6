"""Images presented a few at a time are presented as in one batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog import convolution
from meta_analog import in_turn
from meta_analog import presentation
from meta_analog import rules
from tests import small_networks

LAYERS, IMAGE = ((3, 3, 2), (4, 3, 1)), (6, 5, 2)


@pytest.fixture(scope='module')
def net_and_theta():
  windows, shapes = convolution.shapes(IMAGE, LAYERS, (2,))
  net = small_networks.network(num_devices=(1, 1, 2))._replace(
      windows=windows)
  keys = jax.random.split(jax.random.key(1), 3)
  theta = presentation.Theta(tuple(
      presentation.LayerParams(
          jax.random.normal(key, (rows + 1, outputs)),
          jnp.log(jnp.float32(0.4)))
      for key, (rows, outputs) in zip(keys, shapes)),
      rules.RuleParams(*(jnp.zeros(()),) * 4))
  return net, theta


def _images(*shape):
  return jax.random.uniform(jax.random.key(3), (*shape, 60))


def _both(net):
  """Returns presentation as it is, and all at once; functions of (views, x)."""
  windowless = lambda key, net, views, x: presentation._all_at_once(
      key, net, views, x)
  key = jax.random.key(0)
  return tuple(
      lambda views, x, f=f: f(key, net, views, x)
      for f in (presentation.present, windowless))


@pytest.mark.parametrize('num_samples', [1, 7, 10])
def test_pieces_give_what_the_batch_gives(net_and_theta, num_samples):
  net, theta = net_and_theta
  views = presentation.exact_views(theta, net)
  got, expected = (
      jax.jit(f)(views, _images(num_samples)) for f in _both(net))
  assert expected.outputs.shape == (num_samples, 2)
  assert jnp.mean(expected.rate_Hz[1]) > 10
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4),
      got, expected)


def test_gradients_of_many_tasks_are_those_of_a_batch(net_and_theta):
  net, theta = net_and_theta

  def gradient(f, over_tasks):
    def loss(theta, images):
      views = presentation.exact_views(theta, net)
      seen = over_tasks(lambda x: f(views, x), images)
      return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(seen))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(theta, _images(3, 10))

  pieces, batch = _both(net)
  expected = gradient(batch, jax.lax.map)
  for over_tasks in (jax.lax.map, lambda f, x: jax.vmap(f)(x)):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3),
        gradient(pieces, over_tasks), expected)
  assert jnp.max(jnp.abs(expected[1])) > 0.1


def test_a_vmap_is_a_loop_and_can_be_differentiated_twice():
  shapes = set()

  def fn(i, x):
    shapes.add(x.shape)
    return jnp.sin(x) * i * jnp.sum(x)

  numbers, x = jnp.arange(1, 5), jnp.arange(12.0).reshape(4, 3) / 3

  def slope(f):
    return jax.grad(lambda x: jnp.sum(jax.grad(
        lambda x: jnp.sum(jnp.square(jax.vmap(f)(numbers, x))))(x) ** 2))(x)

  got = slope(in_turn.one_at_a_time(fn))
  assert shapes == {(3,)}
  np.testing.assert_allclose(got, slope(fn), rtol=1e-4)


def test_every_piece_has_noise_of_its_own(net_and_theta):
  net, theta = net_and_theta
  views = presentation.exact_views(theta, net)
  views = tuple(view._replace(reading=view.reading._replace(
      variance=jnp.full_like(view.reading.weights, 0.3))) for view in views)
  seen = presentation.present(
      jax.random.key(0), net, views, jnp.repeat(_images(1), 15, axis=0))
  assert len({row.tobytes() for row in np.asarray(seen.features)}) == 15
