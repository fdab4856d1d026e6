"""The Haiku layer on a crossbar, and the LIF core."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import currents as currents_lib
from meta_analog.crossbar import array
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.networks import lif
from meta_analog.networks import modules
from meta_analog.networks import network as network_lib
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

NUM_INPUTS, NUM_OUTPUTS, NUM_SAMPLES, NUM_STEPS = 5, 3, 4, small.NUM_STEPS
NUM_DEVICES = 2
REAL = periphery_lib.Periphery(
    dac_bits=5, adc_bits=6, adc_range=1.5, tile_rows=4, gain_std=0.1,
    offset_std=0.02, ir_drop=1.0)


@functools.cache
def transformed(devices, periphery=network_lib.EXACT, fresh_share=0.0):
  """Returns (program, read), pure functions of the parameters."""
  def both():
    layer = modules.CrossbarLinear(
        NUM_INPUTS, NUM_OUTPUTS, *devices(), periphery=periphery,
        num_devices=NUM_DEVICES, fresh_share=fresh_share)
    read = lambda x, chip, time_s=100.0: layer(x, chip, time_s)
    return layer.program, (layer.program, read)

  return hk.multi_transform(both)


@functools.cache
def parameters():
  return jax.jit(transformed(small.ideal_pair).init)(jax.random.key(0))


def inputs(num_steps=None):
  shape = (NUM_SAMPLES, NUM_INPUTS)
  return jax.random.uniform(
      jax.random.key(1), shape if num_steps is None else (num_steps, *shape),
      minval=-1.0)


def weights():
  """Returns the weights that the parameters stand for, [I + 1, O]."""
  params, = parameters().values()
  return np.exp(float(params['log_gain'])) * 10.0 * NUM_DEVICES * np.tanh(
      np.asarray(params['u'], np.float64))


def run(devices, x, *, periphery=network_lib.EXACT, fresh_share=0.0,
        chip_seed=2, seeds=(3,)):
  """Returns the outputs of one chip for each seed of the read."""
  program, read = transformed(devices, periphery, fresh_share).apply
  chip = jax.jit(program)(parameters(), jax.random.key(chip_seed))
  return [np.asarray(jax.jit(read)(parameters(), jax.random.key(seed), x, chip))
          for seed in seeds]


def test_parameters_are_named_u_and_log_gain():
  name, = parameters()
  assert name == 'crossbar_linear'
  assert {k: v.shape for k, v in parameters()[name].items()} == {
      'u': (NUM_INPUTS + 1, NUM_OUTPUTS), 'log_gain': ()}


def test_a_device_without_noise_gives_the_ideal_product():
  y, = run(small.ideal_pair, inputs())
  w = weights()
  np.testing.assert_allclose(
      y, np.asarray(inputs()) @ w[:-1] + w[-1], rtol=1e-5, atol=1e-5)


def test_time_steps_are_products_of_their_own():
  x = inputs(NUM_STEPS)
  y, = run(small.ideal_pair, x)
  w = weights()
  assert y.shape == (NUM_STEPS, NUM_SAMPLES, NUM_OUTPUTS)
  np.testing.assert_allclose(
      y, np.asarray(x) @ w[:-1] + w[-1], rtol=1e-5, atol=1e-5)


def test_three_bits_quantise_inputs_and_outputs():
  coarse = network_lib.EXACT._replace(
      dac_bits=3, adc_bits=3, dac_range=1.0, adc_range=2.0)
  y, = run(small.ideal_pair, inputs(), periphery=coarse)
  params, = parameters().values()
  weight_max = np.exp(float(params['log_gain'])) * 10.0 * NUM_DEVICES
  step = 2.0 * weight_max / 3.0  # 3 levels of either sign
  x = np.round(np.asarray(inputs(), np.float64) * 3.0) / 3.0
  w = weights()
  exact = x @ w[:-1] + w[-1]
  np.testing.assert_allclose(
      y, step * np.clip(np.round(exact / step), -3, 3), rtol=1e-5, atol=1e-5)
  assert len(np.unique(np.round(y / step))) > 1


def test_calls_of_one_chip_share_its_programming_error():
  quiet = lambda: small.pcm_pair(small.pcm.PCMParams(m3=0.0, c3_uS=0.0))
  first, second = run(quiet, inputs(), seeds=(3, 4))
  other, = run(quiet, inputs(), chip_seed=5)
  ideal, = run(small.ideal_pair, inputs())
  np.testing.assert_array_equal(first, second)
  assert np.all(first != ideal) and np.all(first != other)


@pytest.mark.parametrize('fresh_share', [0.0, 0.5, 1.0])
def test_every_call_reads_with_noise_of_its_own(fresh_share):
  first, second, again = run(
      small.pcm_pair, inputs(), fresh_share=fresh_share, seeds=(3, 4, 3))
  assert np.all(first != second)
  np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize('fresh_share', [0.0, 1.0])
def test_only_the_fresh_share_differs_between_time_steps(fresh_share):
  x = jnp.broadcast_to(inputs()[None], (2, NUM_SAMPLES, NUM_INPUTS))
  y, = run(small.pcm_pair, x, fresh_share=fresh_share)
  assert np.all(y[0] == y[1]) == (fresh_share == 0.0)


def forward_currents(key, layer, periphery, x):
  """Returns the currents of a hidden layer in the forward pass of training."""
  found = []

  def activity_fn(source, neuron, weights):
    found.append(currents_lib.currents(source))
    return lif.activity(source, neuron, weights)

  network = small.network(num_devices=(NUM_DEVICES, 1), periphery=periphery,
                          activity_fn=activity_fn)
  output = network_lib.LayerParams(
      jnp.zeros((NUM_OUTPUTS + 1, 1)), jnp.float32(0.0))
  last, = network_lib.exact_readings(
      (output,), network._replace(num_devices=(1,)))
  network_lib.forward(key, network, (layer, last), x)
  return found[0]


def read_by_hand(key, chip, fresh_share):
  """Returns the layer reading of a call with this key."""
  key_read, _ = jax.random.split(hk.PRNGSequence(key).next())
  reading = array.read(key_read, small.pcm_pair()[0], chip.crossbar,
                       jnp.float32(100.0), fresh_share)
  weight_max = chip.crossbar.gain_per_uS * 10.0 * NUM_DEVICES
  return matvec.LayerReading(reading, chip.columns, weight_max, 1.0)


def test_the_layer_is_that_of_the_forward_pass_of_training():
  # With coarse converters, tiles, columns, wires and frozen read noise.
  program, read = map(jax.jit, transformed(small.pcm_pair, REAL).apply)
  chip = program(parameters(), jax.random.key(2))
  found = read(parameters(), jax.random.key(3), inputs(), chip)
  expected = jax.jit(lambda chip: forward_currents(
      jax.random.key(4), read_by_hand(jax.random.key(3), chip, 0), REAL,
      inputs()))(chip)
  np.testing.assert_allclose(
      np.broadcast_to(found, expected.shape), expected, rtol=1e-5, atol=1e-5)
  ideal, = run(small.ideal_pair, inputs())
  assert np.max(np.abs(found - ideal)) > 0.1


def test_fresh_noise_has_the_variance_of_the_forward_pass():
  num_steps = 16384  # catches 5 % of the standard deviation
  x = jnp.broadcast_to(inputs()[None], (num_steps, NUM_SAMPLES, NUM_INPUTS))
  program, read = map(
      jax.jit, transformed(small.pcm_pair, fresh_share=1.0).apply)
  chip = program(parameters(), jax.random.key(2))
  found = np.asarray(read(parameters(), jax.random.key(3), x, chip))
  variance = np.asarray(jax.jit(lambda chip: read_by_hand(
      jax.random.key(3), chip, 1.0).reading.variance)(chip))
  expected = np.sqrt(
      np.square(np.asarray(inputs())) @ variance[:-1] + variance[-1])
  np.testing.assert_allclose(
      found.std(axis=0), expected, rtol=6.0 / np.sqrt(2.0 * num_steps))


@pytest.mark.parametrize('periphery', [network_lib.EXACT, REAL])
def test_the_gradient_reaches_the_parameters_through_program_and_read(
    periphery):
  program, read = transformed(small.pcm_pair, periphery, 0.5).apply

  def loss(params):
    chip = program(params, jax.random.key(2))
    return jnp.sum(jnp.square(
        read(params, jax.random.key(3), inputs(), chip)))

  gradient, = jax.jit(jax.grad(loss))(parameters()).values()
  assert np.all(np.isfinite(gradient['u'])) and np.all(gradient['u'] != 0)
  assert gradient['log_gain'] != 0


def test_reads_drift_with_the_time_of_the_call():
  program, read = map(jax.jit, transformed(small.pcm_pair).apply)
  chip = program(parameters(), jax.random.key(2))
  early, late = (
      np.asarray(read(parameters(), jax.random.key(3), inputs(), chip, time_s))
      for time_s in (100.0, 1e7))
  ratio = np.sum(early * late) / np.sum(early ** 2)
  assert abs(ratio - (1e7 / 100.0) ** -0.04) < 0.1


def test_inputs_of_another_width_are_refused():
  with pytest.raises(AssertionError):
    run(small.ideal_pair, jnp.ones((NUM_SAMPLES, NUM_INPUTS + 1)))


def test_a_lif_core_unrolls_to_the_loop():
  currents = 2.0 * jax.random.normal(jax.random.key(0), (20, 3, 4)) + 0.5
  expected, margin = oracles.lif_spikes(
      currents, float(lif.decay_from_tau(10.0, 1.0)), 1.0)
  assert margin > 1e-5

  def unroll(currents):
    core = modules.LIFCore(4)
    return hk.dynamic_unroll(core, currents, core.initial_state(3))[0]

  net = hk.without_apply_rng(hk.transform(unroll))
  np.testing.assert_array_equal(jax.jit(net.apply)({}, currents), expected)
