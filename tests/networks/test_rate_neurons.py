"""Rate neurons against a loop in NumPy, alone and as a network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.core import currents as currents_lib
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery
from meta_analog.networks import lif
from meta_analog.networks import network
from meta_analog.networks import rate_neurons
from meta_analog.training import meta_training
from tests.helpers import small_networks as small

NUM_STEPS, ROW = 12, (3, 4)
SLOPE = 0.7


def layer(currents, decay, threshold, slope):
  """Returns the activity [T, ...], neuron by neuron and step by step."""
  currents = np.asarray(currents, np.float64)
  z = np.zeros_like(currents)
  v = np.zeros(currents.shape[1:])
  for t, current in enumerate(currents):
    for index in np.ndindex(v.shape):
      v[index] = decay * v[index] + (1.0 - decay) * current[index]
      drive = slope * max(v[index] - threshold, 0.0)
      z[(t, *index)] = drive / (1.0 + drive)
  return z


def loss(z, cotangents, weights):
  """Returns a function of both outputs, of which neither is linear."""
  sums = np.tensordot(weights.T, z, axes=1)
  return np.sum(cotangents * z * z) + np.sum(sums ** 3)


@functools.partial(jax.jit, static_argnames='convert_fn')
def activity(currents, decay, threshold, weights, convert_fn=lambda z: z):
  source = currents_lib.Source(lambda step, *_: step, currents, (), (),
                               NUM_STEPS)
  return rate_neurons.activity(source,
                               lif.Neuron(decay, threshold),
                               weights,
                               slope=SLOPE,
                               convert_fn=convert_fn)


def arguments(seed=0):
  keys = jax.random.split(jax.random.key(seed), 3)
  currents = 2.0 * jax.random.normal(keys[0], (NUM_STEPS,) + ROW) + 1.5
  weights = jax.random.normal(keys[1], (NUM_STEPS, 2))
  return (currents, jnp.float32(0.6), jnp.float32(0.4), weights), (
      jax.random.normal(keys[2], (NUM_STEPS,) + ROW))


@pytest.mark.parametrize('seed', [0, 1])
def test_activity_and_sums_equal_the_loop(seed):
  args, _ = arguments(seed)
  z = layer(*args[:3], SLOPE)
  assert z.min() == 0.0 and 0.2 < z.max() < 1.0
  found = activity(*args)
  np.testing.assert_allclose(found.spikes, z, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
      found.sums, np.tensordot(np.asarray(args[3]).T, z, axes=1), rtol=1e-4,
      atol=1e-5)


def test_gradients_equal_finite_differences_of_the_loop():
  args, cotangents = arguments()
  ours = lambda *args: (lambda out: jnp.sum(
      cotangents * jnp.square(out.spikes)) + jnp.sum(out.sums ** 3))(
          activity(*args))
  found = jax.grad(ours, argnums=(0, 1, 2, 3))(*args)
  plain = [np.asarray(x, np.float64) for x in args]
  value = lambda currents, decay, threshold, weights: loss(
      layer(currents, decay, threshold, SLOPE), np.asarray(cotangents), weights)
  rng = np.random.default_rng(0)
  for i, gradient in enumerate(found):
    direction = rng.normal(size=plain[i].shape)
    up, down = (value(*plain[:i], plain[i] + sign * 1e-6 * direction,
                      *plain[i + 1:]) for sign in (1.0, -1.0))
    np.testing.assert_allclose(
        np.sum(np.asarray(gradient) * direction), (up - down) / 2e-6,
        rtol=1e-3)


def test_the_converter_drives_its_levels_and_the_sums_see_them():
  args, _ = arguments()
  drive = functools.partial(periphery.drive, periphery.Periphery(dac_bits=4))
  fine, coarse = activity(*args), activity(*args, convert_fn=drive)
  level = 7.0 * np.asarray(coarse.spikes)
  np.testing.assert_allclose(level, np.round(level), atol=1e-5)
  error = np.abs(coarse.spikes - fine.spikes)
  assert 0.02 < error.max() <= 0.5 / 7.0 + 1e-6
  np.testing.assert_allclose(
      coarse.sums, jnp.tensordot(args[3].T, coarse.spikes, axes=1), rtol=1e-5)


def test_a_network_equals_the_loop_over_its_layers():
  theta, x = small.theta(), jnp.linspace(-1.0, 1.0, 5)[:, None]
  net = small.network(fresh_share=0,
                      activity_fn=functools.partial(rate_neurons.activity,
                                                    slope=SLOPE))
  learner = types.Learner(*map(jax.jit, small.make(small.ideal_pair(), net)))
  weights = [np.exp(float(one.log_gain)) * net.span_uS * n
             * np.tanh(np.asarray(one.u, np.float64))
             for one, n in zip(theta.layers, net.num_devices, strict=True)]
  below = np.broadcast_to(np.asarray(x), (small.NUM_STEPS,) + x.shape)
  rates = []
  for w in weights[:-1]:
    below = layer(below @ w[:-1] + w[-1], small.DECAY, 1.0, SLOPE)
    rates.append(below.mean(axis=(0, 1)))
  currents = below @ weights[-1][:-1] + weights[-1][-1]
  chip = learner.init(jax.random.key(0), theta)
  found, info = learner.predict(
      jax.random.key(1), chip, x, jnp.float32(100.0))
  np.testing.assert_allclose(found, np.einsum(
      't,tno->no', np.asarray(net.readout, np.float64), currents),
                             rtol=1e-4, atol=1e-4)
  for rate_Hz, mean in zip(info['rate_Hz'], rates, strict=True):
    assert mean.max() > 0.1
    np.testing.assert_allclose(rate_Hz, 1000.0 * mean, rtol=1e-4, atol=1e-3)


def test_fresh_read_noise_grows_with_the_activity_itself():
  # Of a spike x^2 = x: a graded input tells the two apart.
  reading = array.Reading(
      jnp.zeros((9, 2)), jnp.ones((9, 2)).at[-1].set(0.0))
  layer_reading = matvec.LayerReading(
      reading, periphery.perfect_columns(9, 2, 256), jnp.float32(1.0), 1.0)
  y = [matvec.product(
      jax.random.key(0), network.EXACT, layer_reading,
      jnp.full((NUM_STEPS, 5, 8), x), NUM_STEPS) for x in (1.0, 0.25)]
  np.testing.assert_allclose(y[1], 0.25 * y[0], rtol=1e-5)


def test_the_assembled_net_takes_a_step_and_passes_its_dac():
  config = pcm.get_config('tiny')
  with config.unlocked():
    config.network.neuron = 'rate'
    config.network.surrogate_slope = SLOPE
    config.periphery.dac_bits = 4
  setup = build.build(config)
  assert not setup.network.spiking
  assert build.build(pcm.get_config('tiny')).network.spiking
  source = currents_lib.Source(lambda step, *_: step,
                               arguments()[0][0], (), (), NUM_STEPS)
  z = setup.network.activity_fn(
      source, setup.network.neuron, jnp.ones((NUM_STEPS, 1))).spikes
  expected = layer(source.steps, np.exp(-0.1), 1.0, SLOPE)
  assert 0.02 < np.max(np.abs(z - expected)) <= 0.5 / 7.0 + 1e-6
  trainer = meta_training.make(config, setup)
  state = jax.eval_shape(trainer.init, jax.random.key(0))
  info = jax.eval_shape(trainer.update, state, jax.random.key(1))[1]
  assert info['rate_Hz'].shape == (2,)
