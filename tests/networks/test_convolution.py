"""Convolution by products of one crossbar, against convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.learning import meta_parameters
from meta_analog.networks import convolution
from meta_analog.networks import network
from tests.helpers import small_networks
from tests.oracles import network as oracles_network

SHAPES = [
    convolution.ConvShape(6, 6, 1, kernel=3, stride=1),
    convolution.ConvShape(7, 5, 2, kernel=3, stride=2),
    convolution.ConvShape(8, 6, 3, kernel=4, stride=3),
    convolution.ConvShape(5, 4, 2, kernel=1, stride=2),
    convolution.ConvShape(9, 5, 2, kernel=2, stride=4),
    convolution.ConvShape(6, 7, 3, kernel=5, stride=2),
]
QUICK = (2,)  # an even kernel, sides that differ, channels


@pytest.mark.parametrize('shape', [
    pytest.param(shape, marks=() if i in QUICK else pytest.mark.slow)
    for i, shape in enumerate(SHAPES)])
def test_unfolded_products_are_the_convolution(shape):
  keys = jax.random.split(jax.random.key(0))
  size = (shape.height, shape.width, shape.channels)
  x = jax.random.normal(keys[0], (2, 3, *size))
  w = jax.random.normal(
      keys[1], (shape.kernel, shape.kernel, shape.channels, 4))
  rows = convolution.im2col(x.reshape(2, 3, -1), shape)
  assert rows.shape[-1] == convolution.num_rows(shape)
  pad = shape.kernel // 2

  def unfolded(x):
    rows = convolution.im2col(x.reshape(2, 3, -1), shape)
    return convolution.to_images(rows @ w.reshape(-1, 4), shape)

  def convolved(x):
    y = jax.lax.conv_general_dilated(
        x.reshape(6, *size), w, (shape.stride,) * 2, [(pad, pad)] * 2,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    assert y.shape[1:3] == convolution.out_size(shape)
    return y.reshape(2, 3, -1)

  (got, pull), (expected, pull_expected) = (
      jax.vjp(f, x) for f in (unfolded, convolved))
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      pull(expected)[0], pull_expected(expected)[0], rtol=1e-4, atol=1e-5)
  # And backwards twice, as in a gradient through a gradient.
  np.testing.assert_allclose(
      *(jax.grad(lambda x, f=f: jnp.sum(jnp.square(jax.grad(
          lambda x: jnp.sum(f(x)**2))(x))))(x) for f in (unfolded, convolved)),
      rtol=1e-4, atol=1e-3)


def test_each_convolution_takes_the_output_of_the_one_before():
  conv_shapes, last = convolution.chain_shapes(
      (28, 28, 1), ((16, 5, 2), (32, 3, 2)))
  assert last == (7, 7, 32)
  assert conv_shapes[1] == convolution.ConvShape(14, 14, 16, 3, 2)
  conv_shapes, shapes = convolution.layer_shapes(
      (28, 28, 1), ((16, 5, 2), (32, 3, 2)), (10, 5))
  assert shapes == ((25, 16), (144, 32), (1568, 10), (10, 5))
  assert convolution.layer_shapes((1, 1, 7), (), (3, 2)) == (
      (), ((7, 3), (3, 2)))


def test_a_kernel_that_does_not_fit_is_refused():
  with pytest.raises(ValueError, match='must fit its input of 3 x 4'):
    convolution.chain_shapes((5, 8, 1), ((2, 5, 2), (4, 4, 1)))


def test_a_spiking_convolution_is_neurons_at_every_position():
  layers, image = ((3, 3, 2), (4, 3, 1)), (6, 5, 2)
  conv_shapes, shapes = convolution.layer_shapes(image, layers, (2,))
  net = small_networks.network(num_devices=(1, 1, 2))._replace(
      conv_shapes=conv_shapes)
  keys = jax.random.split(jax.random.key(1), 4)
  theta = meta_parameters.Theta(tuple(
      network.LayerParams(
          jax.random.normal(key, (rows + 1, outputs)),
          jnp.log(jnp.float32(0.4)))
      for key, (rows, outputs) in zip(keys, shapes)), _no_rule())
  readings = network.exact_readings(theta.layers, net)
  x = jax.random.uniform(keys[3], (3, 60))
  result = network.forward(jax.random.key(0), net, readings, x)
  weights = [np.asarray(layer.reading.weights, np.float64)
             for layer in readings]
  spikes = np.broadcast_to(
      np.asarray(x, np.float64), (small_networks.NUM_STEPS, 3, 60))
  for shape, w in zip(conv_shapes, weights):
    spikes, margin = _spiking_convolution(spikes, shape, w)
    assert margin > 1e-5  # so that float32 spikes in the same places
  features = np.einsum('t,tni->ni', np.asarray(net.readout), spikes)
  np.testing.assert_allclose(
      result.features[:, :-1], features, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
      result.outputs, np.asarray(result.features) @ weights[2], rtol=1e-4,
      atol=1e-4)
  assert 0.02 < spikes.mean() < 0.98
  rate_Hz = 1000 * spikes.reshape(-1, 4).mean(axis=0)
  np.testing.assert_allclose(result.rate_Hz[1], rate_Hz, rtol=1e-4)


def test_positions_share_the_array_but_not_the_noise_of_a_product():
  conv_shapes, shapes = convolution.layer_shapes((4, 3, 2), ((5, 1, 1),), (2,))
  net = small_networks.network(num_devices=(1, 2))._replace(
      conv_shapes=conv_shapes)
  keys = jax.random.split(jax.random.key(2), 2)
  theta = meta_parameters.Theta(
      tuple(
          network.LayerParams(jax.random.normal(key, (
              rows + 1, outputs)), jnp.log(jnp.float32(0.4)))
          for key, (rows, outputs) in zip(keys, shapes)), _no_rule())
  readings = network.exact_readings(theta.layers, net)
  flat = jnp.full((1, 24), 0.9)  # the same pixels everywhere

  @jax.jit
  def features(variance):
    reading = readings[0].reading
    noisy = readings[0]._replace(reading=reading._replace(
        variance=jnp.full_like(reading.weights, variance)))
    result = network.forward(
        jax.random.key(0), net, (noisy, readings[1]), flat)
    return result.features[0, :-1].reshape(12, 5)

  still, noisy = (np.asarray(features(x)) for x in (0.0, 1.0))
  assert still.max() > 0.1 and np.all(still == still[:1])
  assert len({row.tobytes() for row in noisy}) == 12


def _no_rule():
  return meta_parameters.RuleParams(*(jnp.zeros(()),) * 4)


def _spiking_convolution(inputs, shape, weights):
  """Returns spikes [T, N, P O], one position after the other, and a margin."""
  height, width = convolution.out_size(shape)
  num_steps, num_samples = inputs.shape[:2]
  num_outputs = weights.shape[1]
  images = inputs.reshape(
      num_steps, num_samples, shape.height, shape.width, shape.channels)
  currents = np.zeros((num_steps, num_samples, height, width, num_outputs))
  for n in range(num_samples):
    for i in range(height):
      for j in range(width):
        current = np.broadcast_to(
            weights[-1], (num_steps, num_outputs)).copy()
        row = 0
        for a in range(shape.kernel):
          for b in range(shape.kernel):
            y = i * shape.stride + a - shape.kernel // 2
            x = j * shape.stride + b - shape.kernel // 2
            for c in range(shape.channels):
              if 0 <= y < shape.height and 0 <= x < shape.width:
                current += np.outer(images[:, n, y, x, c], weights[row])
              row += 1
        currents[:, n, i, j] = current
  spikes, margin = oracles_network.lif_spikes(
      currents, small_networks.DECAY, 1.0)
  return spikes.reshape(num_steps, num_samples, -1), margin
