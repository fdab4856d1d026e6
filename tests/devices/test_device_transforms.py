"""Every device family under jit, vmap and grad, and as time passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import device_families

MAX_PULSES = device_families.MAX_PULSES
each_family = device_families.each_family
_device = device_families.device
_program = device_families.program
_layout = device_families.layout
_assert_same = device_families.assert_same


@each_family
def test_devices_that_age_read_as_those_read_later(name):
  device = _device(name)
  state = device.pulse(
      jax.random.key(1), _program(device), jnp.array([0.0, 1.0, 3.0]))
  read = lambda state, elapsed_s: (
      device.read(jax.random.key(2), state, elapsed_s),
      *device.read_stats(state, elapsed_s))
  aged = device.advance(device.advance(state, 1e4), 24.0)
  _assert_same(read(aged, 1000.0), read(state, 11024.0))


@each_family
@pytest.mark.parametrize('years', [0, 1, 10])
def test_what_comes_after_a_pulse_does_not_depend_on_the_years_before(
    name, years):
  device = _device(name)
  state = device.advance(_program(device), years * 31536000.0)
  pulsed = device.pulse(jax.random.key(1), state, jnp.full(3, 2.0))
  erased = device.reset(jax.random.key(2), state, jnp.ones(3, bool))
  for touched in (pulsed, erased):
    aged = device.advance(touched, 0.25)
    np.testing.assert_array_equal(
        getattr(aged, 'age_s', np.full(3, 0.25)), np.full(3, 0.25))


@each_family
def test_a_pulse_train_is_a_scan_carry_under_jit(name):
  device = _device(name)
  state = _program(device)

  @jax.jit
  def run(key, state):
    def body(state, key):
      key_pulse, key_read = jax.random.split(key)
      state = device.pulse(key_pulse, state, jnp.ones(3))
      return state, device.read(key_read, state, 50.0)

    return jax.lax.scan(body, state, jax.random.split(key, 3))

  state, reads = run(jax.random.key(1), state)
  assert reads.shape == (3, 3)
  np.testing.assert_array_equal(state.num_pulses, np.full(3, 3.0))


@each_family
def test_vmap_over_parameters_is_a_sweep(name):
  sweep = jnp.array([4.0, 8.0])

  def run(g_max_uS):
    device = _device(name, noise_scale=0.0, g_max_uS=g_max_uS)
    return _program(device, g=6.0).g_uS

  swept = jax.vmap(run)(sweep)
  np.testing.assert_array_equal(swept, [[4.0] * 3, [6.0] * 3])


@each_family
def test_vmap_over_keys_is_a_batch_of_arrays(name):
  device = _device(name)
  keys = jax.random.split(jax.random.key(0), 2)
  batch = jax.vmap(lambda key: device.program(key, jnp.full(3, 5.0)))(keys)
  assert all(leaf.shape == (2, 3) for leaf in batch)
  keys = jax.random.split(jax.random.key(1), 2)
  g_uS = jax.vmap(lambda key, state: device.read(key, state, 9.0))(keys, batch)
  assert g_uS.shape == (2, 3)


@each_family
def test_the_way_from_target_and_pulses_to_a_read_is_differentiable(name):
  device = _device(name)

  def run(target_uS, num_pulses, elapsed_s):
    keys = jax.random.split(jax.random.key(0), 3)
    state = device.program(keys[0], target_uS)
    state = device.pulse(keys[1], device.advance(state, 10.0), num_pulses)
    return jnp.sum(device.read(keys[2], state, elapsed_s))

  # Far from the bounds, where a state passes no gradient.
  target_uS = jnp.full(3, 20.0 if name.startswith('reram') else 4.0)
  # The last reads come as the pulses end and before: ages of zero and below.
  for elapsed_s in (90.0, 0.0, -5.0):
    to_target, to_count = jax.grad(run, (0, 1))(
        target_uS, jnp.array([0.0, 1.0, float(MAX_PULSES)]), elapsed_s)
    assert np.all(np.isfinite(to_target)) and np.all(np.isfinite(to_count))
    assert np.all(to_target > 0) and to_count[0] > 0


@each_family
def test_integer_times_are_times(name):
  device = _device(name)
  state = device.program(jax.random.key(0), jnp.full(3, 5.0))
  pulsed = device.pulse(jax.random.key(1), state, jnp.ones(3))
  erased = device.reset(jax.random.key(2), pulsed, jnp.ones(3, bool))
  erased = device.advance(erased, 3)
  assert _layout(erased) == _layout(pulsed) == _layout(state)
  assert device.read(jax.random.key(3), erased, 4).dtype == jnp.float32
