"""Contract of `types.Device`, held by every device family."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import types
from meta_analog.devices import registry as device_registry
from tests.helpers import device_families

MAX_PULSES = device_families.MAX_PULSES
each_family = device_families.each_family
_params = device_families.params
_device = device_families.device
_program = device_families.program
_layout = device_families.layout
_assert_same = device_families.assert_same
SHAPES = [(), (3,), (2, 3)]
# Where programming with a wild error leaves a device of the default range: from
# exactly the first number to the second, or beyond it where that is None.
PROGRAMMED_RANGES = {
    'ideal': (5.0, 5.0),  # no error
    'pcm': (0.1, 12.0),
    'pcm_like': (0.0, None),
    'hermes': (0.0, None),
    'hermes_pair': (0.0, None),
    'reram': (0.0, None),  # a state beyond widens the bounds
    'reram_es': (0.0, None),
}
SIGNATURES = {
    'program': ['key', 'target_uS'],
    'pulse': ['key', 'state', 'num_pulses'],
    'reset': ['key', 'state', 'mask'],
    'advance': ['state', 'elapsed_s'],
    'read': ['key', 'state', 'elapsed_s'],
    'read_stats': ['state', 'elapsed_s'],
}
each_shape = pytest.mark.parametrize('shape', SHAPES)


@each_family
def test_every_function_has_the_arguments_of_the_contract(name):
  device = device_registry.make(name, _params(name), MAX_PULSES)
  assert isinstance(device, types.Device)
  assert list(types.Device._fields) == list(SIGNATURES)
  for function, arguments in SIGNATURES.items():
    signature = inspect.signature(getattr(device, function))
    assert list(signature.parameters) == arguments


@each_family
def test_parameters_are_a_named_tuple_of_scalars_with_defaults(name):
  params = _params(name)
  assert params.g_min_uS < params.g_max_uS
  assert params.noise_scale == 1.0
  assert all(jnp.shape(value) == () for value in params)


def test_an_unknown_technology_is_refused_by_name():
  with pytest.raises(ValueError, match="device = 'flash'.*ideal.*pcm"):
    device_registry.make('flash', None, MAX_PULSES)


@each_family
@each_shape
def test_every_field_of_a_state_has_the_shape_of_the_array(name, shape):
  state = _program(_device(name), shape)
  assert hasattr(state, '_fields') and 'g_uS' in state._fields
  for leaf in state:
    assert (leaf.shape, leaf.dtype) == (shape, jnp.float32)
  np.testing.assert_array_equal(state.num_pulses, np.zeros(shape))


@each_family
@each_shape
def test_pulse_reset_and_time_keep_the_layout_of_the_state(name, shape):
  device = _device(name)
  state = _program(device, shape)
  pulsed = device.pulse(jax.random.key(1), state, jnp.full(shape, 2.0))
  erased = device.reset(jax.random.key(2), pulsed, jnp.ones(shape, bool))
  aged = device.advance(erased, 3.0)
  assert _layout(pulsed) == _layout(erased) == _layout(aged) == _layout(state)


@each_family
@each_shape
def test_reads_have_the_shape_of_the_array(name, shape):
  device = _device(name)
  state = _program(device, shape)
  g_uS = device.read(jax.random.key(1), state, 50.0)
  mean, sigma = device.read_stats(state, 50.0)
  for value in (g_uS, mean, sigma):
    assert (value.shape, value.dtype) == (shape, jnp.float32)
  assert np.all(sigma >= 0)


@each_family
def test_a_read_has_the_moments_that_read_stats_states(name):
  # 16384 devices: 6 errors are 3.3 % of the std.
  device = _device(name)
  state = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (16384,)), _program(device, ()))
  sample = device.read(jax.random.key(1), state, 1e4)
  mean, sigma = device.read_stats(state, 1e4)
  error = sigma[0] / np.sqrt(16384)
  assert abs(np.mean(sample) - mean[0]) <= 6 * error + 1e-5
  assert abs(np.std(sample) - sigma[0]) <= 6 * error / np.sqrt(2) + 1e-5


@each_family
def test_zero_noise_makes_every_key_alike(name):
  device = _device(name, noise_scale=0.0)

  def run(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    state = device.program(keys[0], jnp.full(3, 5.0))
    state = device.pulse(keys[1], state, jnp.array([0.0, 1.0, 3.0]))
    state = device.reset(keys[2], state, jnp.array([True, False, False]))
    return state, device.read(keys[3], state, 100.0)

  _assert_same(run(0), run(1))
  state, g_uS = run(0)
  mean, sigma = device.read_stats(state, 100.0)
  np.testing.assert_array_equal(sigma, np.zeros(3))
  np.testing.assert_array_equal(g_uS, mean)


@each_family
def test_zero_noise_programs_the_target_exactly(name):
  state = _program(_device(name, noise_scale=0.0))
  np.testing.assert_array_equal(state.g_uS, np.full(3, 5.0))


@each_family
def test_targets_are_limited_to_the_range(name):
  device = _device(name, noise_scale=0.0, g_min_uS=1.0, g_max_uS=6.0)
  for g, limited in ((-3.0, 1.0), (9.0, 6.0)):
    np.testing.assert_array_equal(
        _program(device, g=g).g_uS, np.full(3, limited))


@each_family
def test_programmed_states_stay_in_the_range_that_the_family_states(name):
  low, high = PROGRAMMED_RANGES[name]
  device = _device(name, noise_scale=50.0)
  g_uS = _program(device, (16384,)).g_uS
  assert np.min(g_uS) == np.float32(low)
  if high is None:  # an error is cut at 0 only
    assert np.max(g_uS) > 2 * _params(name).g_max_uS
  else:
    assert np.max(g_uS) == np.float32(high)


@each_family
def test_no_pulse_and_an_empty_mask_change_nothing(name):
  device = _device(name)
  state = _program(device)
  for after in (
      device.pulse(jax.random.key(1), state, jnp.zeros(3)),
      device.reset(jax.random.key(2), state, jnp.zeros(3, bool))):
    _assert_same(state, after)


@each_family
def test_pulses_are_counted_raise_and_reset_clears(name):
  device = _device(name, noise_scale=0.0)
  state = _program(device, g=2.0)
  pulsed = device.pulse(jax.random.key(1), state, jnp.full(3, 3.0))
  np.testing.assert_array_equal(pulsed.num_pulses, np.full(3, 3.0))
  assert np.all(pulsed.g_uS > state.g_uS)
  erased = device.reset(jax.random.key(2), pulsed, jnp.ones(3, bool))
  np.testing.assert_array_equal(erased.num_pulses, np.zeros(3))
  assert np.all(erased.g_uS < state.g_uS)


@each_family
def test_the_longest_train_stays_in_the_range(name):
  device = _device(name, g_max_uS=6.0)
  state = _program(device, (64,))
  for i in range(4):
    state = device.pulse(
        jax.random.key(i), state, jnp.full(64, float(MAX_PULSES)))
  low, high = (getattr(state, name, bound)  # a device may have its own
               for name, bound in (('low_uS', 0.0), ('high_uS', 6.0)))
  assert np.all((state.g_uS >= low) & (state.g_uS <= high))


@each_family
def test_permuting_noise_free_devices_permutes_the_result(name):
  device = _device(name, noise_scale=0.0)
  order = np.array([2, 0, 1])
  target = jnp.array([1.0, 5.0, 9.0])
  count = jnp.array([0.0, 1.0, 3.0])
  mask = jnp.array([False, False, True])

  def run(order):
    keys = jax.random.split(jax.random.key(0), 4)
    state = device.program(keys[0], target[order])
    state = device.pulse(keys[1], state, count[order])
    state = device.reset(keys[2], state, mask[order])
    return state, device.read(keys[3], state, 100.0)

  plain = run(np.arange(3))
  _assert_same(jax.tree.map(lambda x: x[order], plain), run(order))
