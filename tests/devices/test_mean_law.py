"""The noise-free model has the mean of what programming and pulses leave."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog.config import build
from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import registry as device_registry
from meta_analog.networks import chip as chip_lib
from tests.oracles import clipped
from tests.oracles import device as oracle

SIZE = 65536  # 6 errors are 2.3 % of a std
MAX_PULSES = 4
each_family = pytest.mark.parametrize('name', sorted(device_registry.FAMILIES))
each_noisy = pytest.mark.parametrize(
    'name', sorted(name for name, family in device_registry.FAMILIES.items()
                   if family.noise))


def _pair(name, **changes):
  """Returns a technology and its noise-free model."""
  params = device_registry.FAMILIES[name].params(**changes)
  return [make(name, params, MAX_PULSES) for make in (
      device_registry.make, device_registry.make_noise_free)]


@functools.cache
def _compiled(name, **changes):
  """Returns the same two with compiled functions."""
  return [types.Device(*map(jax.jit, device))
          for device in _pair(name, **changes)]


def _grid(name):
  """Returns targets from the lowest to the highest, many near both."""
  params = device_registry.FAMILIES[name].params()
  low, high = device_registry.lowest_uS(name, params), params.g_max_uS
  return np.array([low, low + 0.01, low + 0.1, low + 0.3, low + 0.7, 0.5 * high,
                   high - 0.7, high - 0.2, high], np.float32)


def _assert_mean(sample, model):
  """Asserts that rows [L, N] have these means [L] within 6 errors."""
  sample = np.asarray(sample, np.float64)
  error = sample.std(axis=1) / np.sqrt(sample.shape[1])
  difference = np.abs(sample.mean(axis=1) - np.asarray(model))
  assert np.all(difference <= 6 * error + 1e-5), (difference, error)


@pytest.mark.parametrize('mean, std, low, high', [
    (0.1, 0.27, 0.1, 12.0), (0.3, 0.28, 0.1, 12.0), (11.9, 0.93, 0.1, 12.0),
    (12.0, 0.94, 0.1, 12.0), (0.5, 5.0, 0.1, 2.0), (-1.0, 0.7, 0.0, np.inf),
    (14.0, 1.0, 0.1, 12.0), (5.0, 0.6, 0.1, 12.0), (3.0, 0.0, 0.1, 12.0),
    (20.0, 0.0, 0.1, 12.0)])
def test_the_mean_of_a_clipped_normal_number_is_the_closed_form(
    mean, std, low, high):
  ours = jax.jit(common.clipped_mean)(*map(jnp.float32, (mean, std, low, high)))
  np.testing.assert_allclose(
      ours, clipped.moments(mean, std, low, high)[0], rtol=1e-4, atol=2e-5)


def test_the_closed_form_is_differentiable_without_noise_and_bounds():
  slope = jax.jit(jax.grad(
      lambda m: common.clipped_mean(m, 0.0, 0.1, jnp.inf)))
  assert (slope(5.0), slope(-5.0)) == (1.0, 0.0)
  slope = jax.jit(jax.grad(
      lambda m: common.clipped_mean(m, 1.0, 0.0, jnp.inf)))
  np.testing.assert_allclose(slope(0.5), 0.6914625, rtol=1e-5)


@each_family
@pytest.mark.parametrize('scale', [
    1.0, pytest.param(0.3, marks=pytest.mark.slow)])
def test_the_model_of_a_target_is_the_mean_of_programming(name, scale):
  device, model = _compiled(name, noise_scale=scale)
  target_uS = _grid(name)
  sample = device.program(jax.random.key(0), jnp.broadcast_to(
      target_uS[:, None], (len(target_uS), SIZE)))
  known = model.program(jax.random.key(0), target_uS)
  _assert_mean(sample.g_uS, known.g_uS)


@pytest.mark.parametrize('target', [0.11, 0.4, 1.0, 11.5, 12.0])
def test_programming_near_a_bound_is_the_clipped_law(target):
  device, model = _compiled('pcm')
  law = clipped.moments(target, oracle.program_sigma(target), 0.1, 12.0)
  state = device.program(jax.random.key(1), jnp.full(SIZE, target))
  oracle.assert_moments(state.g_uS, *law)
  known = model.program(jax.random.key(0), jnp.float32(target)).g_uS
  np.testing.assert_allclose(known, law[0], rtol=1e-4)


@each_noisy
def test_the_model_after_reset_is_the_mean_of_reset(name):
  # So wide that the cut at 0 counts.
  reram = name.startswith('reram')
  wide = {'reset_std_uS': 2.0} if reram else {'reset_std': 1.5}
  device, model = _compiled(name, **wide)
  if reram:
    device = _compiled(name, low_std=0.0, **wide)[0]
  everywhere = jnp.ones(SIZE, bool)
  sample, known = (d.reset(
      jax.random.key(1),
      d.program(jax.random.key(0), jnp.full(SIZE, 5.0)), everywhere).g_uS
                   for d in (device, model))
  _assert_mean(sample[None], known[:1])


@pytest.mark.parametrize('name', ['pcm', 'pcm_like', 'hermes', 'hermes_pair'])
@pytest.mark.parametrize('count, errors', [(1, 6.0), (2, 12.0), (4, 40.0)])
def test_the_model_of_pulses_from_reset_is_their_mean(name, count, errors):
  # Exact for the first; the clip of later ones is taken at the mean state, a
  # few thousandths of a step away.
  device, model = _compiled(name)
  after = [d.pulse(
      jax.random.key(2), d.program(jax.random.key(0), jnp.zeros(SIZE)),
      jnp.full(SIZE, float(count))).g_uS for d in (device, model)]
  sample = np.asarray(after[0], np.float64)
  error = sample.std() / np.sqrt(SIZE)
  assert abs(sample.mean() - after[1][0]) < errors * error


def test_the_first_pulse_from_reset_is_known_with_its_clip():
  model = _compiled('pcm')[1]
  state = model.pulse(jax.random.key(0), model.program(
      jax.random.key(0), jnp.float32(0.1)), jnp.float32(1.0))
  np.testing.assert_allclose(state.g_uS, 2.05494, rtol=1e-4)


@each_family
def test_the_model_draws_nothing(name):
  model = _compiled(name)[1]

  def run(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    state = model.program(keys[0], jnp.array([0.0, 0.3, 5.0]))
    state = model.pulse(keys[1], state, jnp.array([0.0, 1.0, 3.0]))
    state = model.reset(keys[2], state, jnp.array([True, False, False]))
    return state, model.read(keys[3], state, 100.0)

  jax.tree.map(np.testing.assert_array_equal, run(0), run(1))
  assert not np.any(model.read_stats(run(0)[0], 100.0)[1])


@each_family
def test_the_model_is_the_limit_without_noise_away_from_the_bounds(name):
  # All devices have one exponent, whatever else they differ in.
  family = device_registry.FAMILIES[name]
  one = dict.fromkeys(family.noise.get('drift_spread', ()), 0.0)
  params = family.params(**one)
  limit = device_registry.make(name, params._replace(noise_scale=0.0), 1)
  model = _pair(name, **one)[1]
  middle = jnp.full(3, 0.5 * params.g_max_uS)
  states = [device.program(jax.random.key(0), middle)
            for device in (limit, model)]
  jax.tree.map(np.testing.assert_array_equal, *states)
  for age_s in (0.0, 30.0, 1e8):
    jax.tree.map(np.testing.assert_array_equal,
                 limit.read_stats(states[0], age_s),
                 model.read_stats(states[1], age_s))


# Wiring


@functools.cache
def _hardware(noise_scale, **noise):
  config = pcm_config.get_config('tiny')
  config.noise.update(noise)
  return build.build(config, lambda hardware, *args, **kwargs: hardware
                     ).make_learner(noise_scale)


def _known_uS(hardware, i, target_uS=0.11):
  _, model = chip_lib.devices_of(hardware, i)
  return float(model.program(jax.random.key(0), jnp.float32(target_uS)).g_uS)


def test_the_controller_of_a_run_knows_the_mean_at_the_noise_of_its_chips():
  for scale in (0.0, 0.5, 1.0):
    expected = clipped.moments(
        0.11, scale * oracle.program_sigma(0.11), 0.1, 12.0)[0]
    for i in range(3):
      np.testing.assert_allclose(
          _known_uS(_hardware(scale), i), expected, rtol=1e-4)


def test_the_controller_knows_the_noise_of_each_layer():
  hardware = _hardware(1.0, hidden_program=0.0)
  np.testing.assert_allclose(
      [_known_uS(hardware, i) for i in range(3)],
      [0.11, 0.11, clipped.moments(
          0.11, oracle.program_sigma(0.11), 0.1, 12.0)[0]], rtol=1e-4)
