"""Devices whose target is the RESET state are RESET, in every family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import float as float_config
from configs import nmnist
from configs import omniglot
from configs import pcm as pcm_config
from configs import perf
from meta_analog.config import build
from meta_analog.config import targets
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.devices import registry as device_registry
from meta_analog.devices import stuck
from meta_analog.programming import program_verify
from meta_analog.programming import verify_options
from tests.oracles import device as oracle

SIZE = 16384  # 6 errors are 3.3 % of a std
HALF = np.sqrt(2 / np.pi)  # mean of |N(0, 1)|
# Mean and standard deviation of the RESET state, uS: written a second time.
LAWS = {
    'pcm': (0.1, 0.01),
    'pcm_like': (25 / 120, 2.5 / 120),
    'hermes': (10.35 / 120, 1.035 / 120),
    'hermes_pair': (20.7 / 120, 2.07 / 120),
    'reram': (0.2 * HALF, 0.2 * np.sqrt(1 - HALF**2)),
    'reram_es': (0.2 * HALF, 0.2 * np.sqrt(1 - HALF**2)),
    'ideal': (0.0, 0.0),
}
PULSED = ('pcm', 'pcm_like', 'hermes', 'hermes_pair')  # with a pulse memory
each_family = pytest.mark.parametrize('name', sorted(device_registry.FAMILIES))


def _device(name, **changes):
  params = device_registry.FAMILIES[name].params(**changes)
  return device_registry.make(name, params, 2), params


@functools.cache
def _floor(name, size=SIZE):
  """Returns a device and an array of it at its lowest target."""
  device, params = _device(name)
  lowest_uS = device_registry.lowest_uS(name, params)
  return device, jax.jit(device.program)(
      jax.random.key(0), jnp.full(size, lowest_uS, jnp.float32))


@each_family
def test_a_device_at_the_reset_state_has_the_law_of_reset(name):
  device, state = _floor(name)
  mean, std = LAWS[name]
  if std == 0:
    assert np.all(state.g_uS == mean)
    return
  oracle.assert_moments(state.g_uS, mean, std)
  again = jax.jit(device.reset)(
      jax.random.key(1), state, jnp.ones(SIZE, bool))
  oracle.assert_moments(again.g_uS, mean, std)


@pytest.mark.parametrize('name', PULSED)
def test_its_pulse_memory_age_and_drift_are_those_after_reset(name):
  device, state = _floor(name)
  assert np.all(state.pulse_memory == 1)
  assert not np.any(state.age_s) and not np.any(state.num_pulses)
  erased = jax.jit(device.reset)(
      jax.random.key(1), state, jnp.ones(SIZE, bool))
  for field in {'nu', 'read_q'} & set(state._fields):
    here, there = (np.asarray(getattr(s, field), np.float64)
                   for s in (state, erased))
    # Two samples: the error of their difference, and rounding.
    error = 6 * there.std() * np.sqrt(2 / SIZE) + 1e-7
    assert abs(here.mean() - there.mean()) < error
    assert abs(here.std() - there.std()) < error


@each_family
def test_a_target_below_the_reset_state_is_the_reset_state(name):
  device, params = _device(name)
  lowest_uS = device_registry.lowest_uS(name, params)
  program = jax.jit(lambda target_uS: device.program(
      jax.random.key(2), jnp.full(64, target_uS, jnp.float32)))
  at, below = program(lowest_uS), program(0.5 * lowest_uS)
  jax.tree.map(np.testing.assert_array_equal, at, below)
  if name != 'ideal':
    assert np.std(program(lowest_uS + 0.05).g_uS) > 1.5 * np.std(at.g_uS)


def test_its_first_pulse_is_that_after_reset():
  device, state = _floor('pcm')
  pulsed = jax.jit(device.pulse)(jax.random.key(3), state, jnp.ones(SIZE))
  oracle.assert_moments(pulsed.g_uS, *oracle.clipped_moments(1, 12.0)[0])


@each_family
def test_the_gradient_to_the_lowest_target_is_that_of_the_target(name):
  device, params = _device(name)
  lowest_uS = device_registry.lowest_uS(name, params)
  slope = jax.jit(jax.grad(lambda target_uS: jnp.sum(
      device.program(jax.random.key(0), target_uS).g_uS)))(
          jnp.full(5, lowest_uS, jnp.float32))
  np.testing.assert_array_equal(slope, np.ones(5))


@pytest.mark.parametrize('u, sides', [
    (0.0, (0.5, -0.5)),  # both sides RESET: each moves by half
    (0.5, (1.0, 0.0)),  # the other side stays RESET
    (-0.5, (0.0, -1.0)),
])
def test_a_weight_with_a_side_at_the_floor_keeps_its_meta_gradient(u, sides):
  device, _ = _device('pcm')

  @jax.jit
  def conductances(u):
    targets_uS = mapping.targets_from_parameters(
        u.reshape(1, 1), 10.0, 0.1, 1)
    return device.program(jax.random.key(0), targets_uS).g_uS.reshape(2)

  slope = jax.jit(jax.jacobian(conductances))(jnp.float32(u))
  span_uS = 10.0 / np.cosh(u) ** 2
  g_uS = 0.1 + 10.0 * abs(np.tanh(u))
  error = float(np.max(conductances(jnp.float32(u)))) - g_uS
  if u:  # the error grows with the target
    span_uS *= 1 + (0.0786 - 2 * 0.001877 * g_uS) * (
        error / oracle.program_sigma(g_uS))
  np.testing.assert_allclose(slope, span_uS * np.array(sides), rtol=1e-3)


def test_a_healthy_device_among_stuck_ones_is_reset_too():
  device = stuck.make(_device('pcm')[0], fraction=0.5, high_share=0.5,
                      low_uS=0.1, high_uS=12.0)
  state = jax.jit(device.program)(jax.random.key(0), jnp.full(SIZE, 0.1))
  oracle.assert_moments(state.healthy.g_uS, *LAWS['pcm'])
  assert np.all(state.healthy.pulse_memory == 1)


def test_a_verification_to_the_floor_resets_and_never_pulses():
  params = device_registry.FAMILIES['pcm'].params()
  pair = (device_registry.make('pcm', params, 1),
          device_registry.make_noise_free('pcm', params, 1))
  shape = (2, 1, 16, 16)
  targets_uS = jnp.full(shape, 0.1).at[0].set(4.0)
  crossbar = jax.jit(lambda key: array.program(
      key, *pair, jnp.full(shape, 3.0), 0.3))(jax.random.key(0))
  options = verify_options.VerifyOptions(
      tolerance_uS=0.1, num_reads=16, delay_s=0.25, max_rounds=60,
      max_pulses=60, max_resets=20)
  new, _ = jax.jit(
      lambda key, crossbar: program_verify.program_and_verify(
          key, *pair, crossbar, program_verify.devices(
              targets_uS, bidirectional=False, lowest_uS=0.1), options,
          jnp.float32(200.0)))(jax.random.key(1), crossbar)
  floor = new.usage.num_resets[1]
  assert np.all(floor >= 1) and not np.any(new.usage.num_pulses[1])
  oracle.assert_moments(new.devices.g_uS[1], *LAWS['pcm'])
  assert np.all(new.devices.pulse_memory[1] == 1)
  assert np.mean(new.usage.num_pulses[0]) > 1


# Configs


@pytest.mark.parametrize('config', [
    pcm_config, perf, float_config, omniglot, nmnist], ids=lambda c: c.__name__)
def test_the_floor_of_each_shipped_config_is_the_reset_state(config):
  c = config.get_config()
  params = device_registry.FAMILIES[c.device].params(
      **c.device_params[c.device])
  assert c.crossbar.floor_uS == device_registry.lowest_uS(c.device, params)
  assert targets.floor_uS(c) == c.crossbar.floor_uS


def _floor_of(floor_uS=0.1, **changes):
  config = pcm_config.get_config('tiny')
  config.update(changes)
  config.crossbar.floor_uS = floor_uS
  return build.build(config, lambda hardware, *args, **kwargs: hardware
                     ).make_learner(1.0).network.floor_uS


def test_a_floor_below_the_reset_state_is_raised_to_it():
  assert _floor_of(device='pcm_like') == pytest.approx(25 / 120)
  assert _floor_of(device='pcm_like', floor_uS=0.5) == 0.5
  assert _floor_of() == 0.1


def test_targets_above_the_raised_floor_stay_in_the_range():
  config = pcm_config.get_config('tiny')
  config.device = 'pcm_like'
  config.crossbar.span_uS = 24.85
  with pytest.raises(errors.InputError, match='floor_uS.*span_uS'):
    validation.check(config)
