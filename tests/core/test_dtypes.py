"""Public functions compute in float32, whatever they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import currents
from meta_analog.core import dtypes
from meta_analog.core import quantization
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery
from meta_analog.devices import registry as device_registry
from meta_analog.devices import stuck
from meta_analog.learning import losses
from meta_analog.learning import plasticity
from meta_analog.networks import encoding
from meta_analog.networks import lif
from meta_analog.networks import lif_fused
from meta_analog.networks import rate_neurons

TYPES = ('bfloat16', 'float16', 'int32', 'float64')
# Whole numbers, so that every type holds them exactly.
X = np.array([[0.0, 1.0], [2.0, 1.0], [3.0, 0.0], [1.0, 4.0]])
Y = np.array([[1.0], [0.0], [2.0], [1.0]])


def _source(x):
  """Returns a source of the currents x [T, N]."""
  return currents.Source(lambda steps, noise, fixed: steps, x, (), (), len(x))


def _product(x):
  reading = array.Reading(x, x)
  layer = matvec.LayerReading(
      reading, periphery.perfect_columns(*x.shape, 256), x[0, 1], x[0, 1])
  return matvec.product(
      jax.random.key(0), periphery.Periphery(), layer, x[:, :1].repeat(3, 1), 2)


def _program(name):
  return lambda x: _device(name).program(jax.random.key(0), x)


def _device(name):
  family = device_registry.FAMILIES[name.removeprefix('stuck ')]
  device = family.make(family.params(), 4)
  return device if not name.startswith('stuck') else stuck.make(
      device, fraction=0.5, high_share=0.5, low_uS=0.1, high_uS=10.0)


def _pulse(name):
  def call(x):
    device = _device(name)
    state = device.program(jax.random.key(0), jnp.float32(X))
    return device.pulse(jax.random.key(1), state, x)

  return call


def _read(name):
  def call(x):
    device = _device(name)
    state = device.program(jax.random.key(0), jnp.float32(X))
    return (device.read(jax.random.key(1), state, x),
            device.read_stats(state, x), device.advance(state, x))

  return call


NEURON = lif.Neuron(0.5)
FUNCTIONS = {
    'lif.spike': lambda x: lif.spike(x, lif.fast_sigmoid),
    'lif.step': lambda x: lif.step(lif.LIFState(x, 0 * x), x, NEURON),
    'lif.unroll': lambda x: lif.unroll(x, NEURON),
    'lif.activity': lambda x: lif.activity(_source(x), NEURON, x),
    'lif.leaky_integrate': lambda x: lif.leaky_integrate(x, x[0, 1]),
    'lif.readout_weights': lambda x: lif.readout_weights(3, x[0, 1]),
    'lif.decay_from_tau': lambda x: lif.decay_from_tau(x[0, 1], x[1, 0]),
    'lif_fused.activity': lambda x: lif_fused.activity(_source(x), NEURON, x),
    'rate_neurons.activity': lambda x: rate_neurons.activity(
        _source(x), NEURON, x),
    'matvec.product': _product,
    'array.product': lambda x: array.product(
        x[:, :1], array.Reading(x[:2], x[:2])),
    'periphery.convert': lambda x: periphery.convert(x, x[2, 0], bits=4),
    'mapping.targets': lambda x: mapping.targets_from_parameters(
        x, x[2, 0], x[0, 1], 2),
    'mapping.parameters': lambda x: mapping.parameters_from_weights(
        x, x[0, 1], x[3, 1], 2),
    'encoding.latency': lambda x: encoding.latency(jax.random.key(0), x, 3),
    'encoding.rate': lambda x: encoding.rate(jax.random.key(0), x, 3),
    'encoding.events': lambda x: encoding.events(jax.random.key(0), x, 2),
    'encoding.population_code': lambda x: encoding.population_code(x, 3),
    'plasticity.delta_rule': lambda x: plasticity.delta_rule(
        x, x[:, :1], x[0, 1], num_steps=2),
    'plasticity.ridge': lambda x: plasticity.ridge(x, x[:, :1], x[0, 1]),
    'quantization.saturate': lambda x: quantization.saturate(
        x, x[0, 1], x[1, 0]),
    'quantization.round_to_level': lambda x: quantization.round_to_level(
        x, bits=2),
    'quantization.sign': lambda x: quantization.round_to_level(x, bits=1),
    'quantization.threshold_pulse': lambda x: quantization.threshold_pulse(
        x, x[0, 1]),
    'losses.squared_error': lambda x: losses.squared_error(x, x[::-1]),
    'losses.cross_entropy': lambda x: losses.softmax_cross_entropy(x, x),
    'losses.accuracy': lambda x: losses.accuracy(x, x),
    'losses.share_at_bound': lambda x: losses.share_at_bound([x], (0.0, 4.0)),
}
for _name in (*device_registry.FAMILIES, 'stuck pcm'):
  FUNCTIONS |= {f'{_name}.program': _program(_name),
                f'{_name}.pulse': _pulse(_name), f'{_name}.read': _read(_name)}


@pytest.fixture(scope='module')
def expected():
  """Results of float32 inputs, by function, computed when first asked for."""
  found = {}

  def of(name):
    if name not in found:
      with jax.enable_x64(False):
        found[name] = jax.device_get(FUNCTIONS[name](jnp.float32(X)))
    return found[name]

  return of


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('name', sorted(FUNCTIONS))
def test_a_public_function_computes_in_float32(name, dtype, expected):
  want = expected(name)
  with jax.enable_x64(dtype == 'float64'):
    found = FUNCTIONS[name](jnp.asarray(X, dtype))
    for leaf in jax.tree.leaves(found):
      assert leaf.dtype in (jnp.float32, bool), leaf.dtype
    jax.tree.map(lambda a, b: np.testing.assert_allclose(
        a, b, rtol=2e-6, atol=1e-6), jax.device_get(found), want)


@pytest.mark.parametrize('value', [2, 2.5, np.float64(2.5), np.int64(2)])
def test_a_number_becomes_float32(value):
  found = dtypes.float32(value)
  assert found.dtype == np.float32 and found == value


def test_booleans_keys_and_nothing_stay_as_they_are():
  key = jax.random.key(0)
  found = dtypes.float32((True, np.array([False]), key, None))
  assert found[0] is True and found[1].dtype == bool
  assert found[2] is key and found[3] is None
