"""Microbatches against one batch: values, gradients and keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import batching
from meta_analog.core import sharding
from meta_analog.learning import meta_parameters
from meta_analog.networks import convolution
from meta_analog.networks import encoding
from meta_analog.networks import lif_fused
from meta_analog.networks import network
from tests.helpers import small_networks

LAYERS, IMAGE = ((3, 3, 2), (4, 3, 1)), (6, 5, 2)


@pytest.fixture(scope='module')
def net_and_theta():
  conv_shapes, shapes = convolution.layer_shapes(IMAGE, LAYERS, (2,))
  net = small_networks.network(num_devices=(1, 1, 2))._replace(
      conv_shapes=conv_shapes, activity_fn=lif_fused.activity)
  keys = jax.random.split(jax.random.key(1), 3)
  theta = meta_parameters.Theta(tuple(
      network.LayerParams(
          jax.random.normal(key, (rows + 1, outputs)),
          jnp.log(jnp.float32(0.4)))
      for key, (rows, outputs) in zip(keys, shapes)),
      meta_parameters.RuleParams(*(jnp.zeros(()),) * 4))
  return net, theta


def _exact(net, theta):
  return jax.jit(lambda layers: network.exact_readings(layers, net))(
      theta.layers)


def _images(*shape):
  return jax.random.uniform(jax.random.key(3), (*shape, 60))


def _run(forward_fn, net, key, readings, x):
  """Returns the result of a forward pass, compiled as a whole."""
  return jax.jit(lambda key, readings, x: forward_fn(
      key, net, readings, x))(key, readings, x)


def _noisy(readings):
  return tuple(layer._replace(reading=layer.reading._replace(
      variance=jnp.full_like(layer.reading.weights, 0.3)))
               for layer in readings)


def _assert_close(got, expected, tolerance):
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(
          x, y, rtol=tolerance, atol=tolerance), got, expected)


@pytest.mark.parametrize('num_samples', [
    7, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 10))])
def test_microbatches_equal_one_batch(net_and_theta, num_samples):
  net, theta = net_and_theta
  readings, x = _exact(net, theta), _images(num_samples)
  key = jax.random.key(0)
  expected = _run(network._forward_batch, net, key, readings, x)
  assert expected.outputs.shape == (num_samples, 2)
  assert np.mean(expected.rate_Hz[1]) > 10
  _assert_close(
      _run(network.forward, net, key, readings, x), expected, 1e-4)


def test_the_noise_of_a_microbatch_is_that_of_its_key(net_and_theta):
  net, theta = net_and_theta
  readings = _noisy(_exact(net, theta))
  key, x = jax.random.key(0), jnp.repeat(_images(1), 15, axis=0)
  result = _run(network.forward, net, key, readings, x)
  assert len({row.tobytes() for row in np.asarray(result.features)}) == 15
  microbatch = _run(network._forward_batch, net, jax.random.fold_in(key, 2),
                    readings, x[10:])
  _assert_close(result.features[10:], microbatch.features, 1e-4)
  _assert_close(result.currents[:, 10:], microbatch.currents, 1e-4)


@pytest.mark.parametrize('name', ['latency', 'rate', 'events'])
def test_encoded_images_reach_the_convolutions(net_and_theta, name):
  net, theta = net_and_theta
  net = net._replace(encode_fn=encoding.ENCODINGS[name])
  readings, key = _exact(net, theta), jax.random.key(0)
  x = _images(10)
  if name == 'events':
    x = jnp.tile(x > 0.5, (1, small_networks.NUM_STEPS)).astype(jnp.float32)
  result = _run(network.forward, net, key, readings, x)
  microbatch = _run(network._forward_batch, net, jax.random.fold_in(key, 1),
                    readings, x[5:])
  _assert_close(result.features[5:], microbatch.features, 1e-4)
  features = np.asarray(result.features)
  assert np.min(np.mean(features[:, :-1], axis=1)) > 0.01
  # An image of its own for each: no two give the same.
  assert len({row.tobytes() for row in features}) == 10


@pytest.mark.slow
def test_gradients_of_many_tasks_equal_those_of_one_batch(net_and_theta):
  net, theta = net_and_theta
  key = jax.random.key(0)

  def gradient(forward_fn, over_tasks):
    def loss(theta, decay, images):
      readings = network.exact_readings(theta.layers, net)
      varied = net._replace(neuron=net.neuron._replace(decay=decay))
      result = over_tasks(
          lambda x: forward_fn(key, varied, readings, x), images)
      return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(result))

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(
        theta, jnp.float32(net.neuron.decay), _images(3, 10))

  expected = gradient(network._forward_batch, jax.lax.map)
  for over_tasks in (jax.lax.map, lambda f, x: jax.vmap(f)(x)):
    _assert_close(gradient(network.forward, over_tasks), expected, 2e-3)
  assert jnp.max(jnp.abs(expected[2])) > 0.1 and abs(expected[1]) > 0.1


@pytest.mark.slow
def test_vectorised_microbatches_are_the_same(net_and_theta, monkeypatch):
  net, theta = net_and_theta
  readings = _noisy(network.exact_readings(theta.layers, net))
  forward = lambda x: network.forward(jax.random.key(0), net, readings, x)
  sequential = forward(_images(10))
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  _assert_close(forward(_images(10)), sequential, 1e-4)


def test_a_vmap_is_a_loop_and_can_be_differentiated_twice():
  shapes = set()

  def fn(i, x):
    shapes.add(x.shape)
    return jnp.sin(x) * i * jnp.sum(x)

  numbers, x = jnp.arange(1, 5), jnp.arange(12.0).reshape(4, 3) / 3

  def slope(f):
    return jax.grad(lambda x: jnp.sum(jax.grad(
        lambda x: jnp.sum(jnp.square(jax.vmap(f)(numbers, x))))(x) ** 2))(x)

  got = jax.jit(lambda: slope(batching.sequential(fn)))()
  assert shapes == {(3,)}
  np.testing.assert_allclose(got, jax.jit(lambda: slope(fn))(), rtol=1e-4)


def _items():
  keys = jax.random.split(jax.random.key(5), 6)
  return keys, jax.random.normal(jax.random.key(6), (6, 3))


def _score(shared, item):
  """Returns a loss that depends on every argument, and an info."""
  key, x = item
  noise = jax.random.normal(key, x.shape)
  picked = shared['w'][shared['index']]
  loss = jnp.sum(jnp.sin(picked * x + noise)) + shared['b'] ** 2
  return loss, {'x': x, 'loss': loss}


def _shared():
  return {'w': jnp.arange(6.0).reshape(2, 3), 'b': jnp.float32(0.7),
          'index': jnp.int32(1)}


@pytest.mark.parametrize('batch_size', [1, 2, 3, 6])
def test_a_mean_of_microbatches_is_the_mean_with_its_gradient(batch_size):
  def scaled(mean_fn, w):
    loss, info = mean_fn(_shared() | {'w': w})
    return 2.5 * loss, info

  microbatch_fn = lambda shared: batching.mean(
      _score, shared, _items(), batch_size=batch_size)
  batch_fn = lambda shared: jax.tree.map(
      lambda x: jnp.mean(x, axis=0),
      jax.vmap(functools.partial(_score, shared))(_items()))
  w = _shared()['w']
  got, expected = (jax.jit(jax.value_and_grad(
      functools.partial(scaled, mean_fn), has_aux=True))(w)
                   for mean_fn in (microbatch_fn, batch_fn))
  _assert_close(got, expected, 1e-5)
  assert np.all(np.asarray(got[1])[0] == 0) and np.all(got[1][1] != 0)
  _assert_close(jax.jit(microbatch_fn)(_shared()),
                jax.jit(batch_fn)(_shared()), 1e-5)


def test_a_mean_of_microbatches_can_be_vectorised():
  def gradient(b, batch_size):
    loss = lambda b: batching.mean(
        _score, _shared() | {'b': b}, _items(), batch_size=batch_size)[0]
    return jax.grad(loss)(b)

  b = jnp.linspace(-1.0, 1.0, 4)
  got = jax.jit(jax.vmap(functools.partial(gradient, batch_size=2)))(b)
  np.testing.assert_allclose(got, 2.0 * b, rtol=1e-5)


@pytest.mark.parametrize('batch_size', [1, 2])
def test_no_batch_is_larger_than_a_microbatch(batch_size):
  sizes = set()

  def gradient(x):
    mean = lambda shared: batching.mean(
        lambda shared, x: (jnp.sum(shared * jnp.sin(x)), {}), shared, x,
        batch_size=batch_size)[0]
    return jax.grad(mean)(jnp.float32(2.0))

  def visit(jaxpr):
    for eqn in jaxpr.eqns:
      if eqn.primitive.name == 'sin':
        sizes.update(var.aval.size for var in eqn.invars)
      for inner in eqn.params.values():
        inner = getattr(inner, 'jaxpr', inner)
        if hasattr(inner, 'eqns'):
          visit(inner)

  visit(jax.make_jaxpr(gradient)(jnp.ones((6, 3))).jaxpr)
  assert sizes == {3 * batch_size}


@pytest.mark.parametrize('batch_size', [1, 2, 6])
def test_only_the_scalar_has_a_gradient_and_only_by_what_is_shared(batch_size):
  keys, x = _items()

  def total(b, x):
    loss, info = batching.mean(
        _score, _shared() | {'b': b}, (jax.random.clone(keys), x),
        batch_size=batch_size)
    return loss + jnp.sum(info['loss'])

  by_b, by_x = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.float32(0.7), x)
  np.testing.assert_allclose(by_b, 1.4, rtol=1e-5)
  assert np.all(by_x == 0)


def test_a_batch_size_that_does_not_divide_is_refused():
  with pytest.raises(ValueError, match='batch_size = 4: must divide.*, 6'):
    batching.mean(_score, _shared(), _items(), batch_size=4)


def test_one_item_is_no_batch():
  shapes = []

  def fn(shared, x):
    shapes.append(x.shape)
    return shared * jnp.sum(x), {'x': x}

  loss, info = batching.mean(
      fn, jnp.float32(2.0), jnp.ones((1, 3)), batch_size=1)
  assert loss == 6.0 and info['x'].shape == (3,) and shapes == [(3,)]


@pytest.mark.parametrize('batch_size', [1, 2])
def test_a_task_of_a_program_spread_over_devices_is_traced_once(batch_size):
  traced = []

  def score(shared, x):
    traced.append(x.shape)
    return jnp.sum(shared * x), {}

  def gradient(shared, i, key, scale):
    del key, scale
    items = i + jnp.ones((4, 3))  # each device its own, as its index is
    return jax.grad(lambda shared: batching.mean(
        score, shared, items, batch_size=batch_size)[0])(shared)

  found = sharding.map_over_devices(
      gradient, 2, jnp.float32(2.0), jax.random.key(0), jnp.float32(1.0))
  np.testing.assert_allclose(found, [3.0, 6.0])
  assert traced == [(3,)]
