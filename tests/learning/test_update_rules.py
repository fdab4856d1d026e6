"""Update rules and pulse encoders: values, limits and gradients."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import quantization
from meta_analog.crossbar import array
from meta_analog.devices import registry as device_registry
from meta_analog.learning import meta_parameters
from meta_analog.learning import pulse_encoders
from meta_analog.learning import update_rules
from meta_analog.programming import pulse_response
from tests.oracles import network as oracles

SHAPE = (4, 2)  # F, O
NUM_LEVELS = 3
ENCODERS = {
    'nearest': pulse_encoders.encode_nearest,
    'descent': pulse_encoders.encode_descent,
    'threshold': pulse_encoders.encode_threshold
}

seeds = st.integers(0, 2**31 - 1)
compiled = {name: jax.jit(fn, static_argnums=3)
            for name, fn in ENCODERS.items()}


delta = jax.jit(update_rules.delta, static_argnames='num_steps')
ridge = jax.jit(update_rules.ridge)


def params(rate=0.5, threshold=0.5, penalty=0.01, write_noise_penalty=0.01):
  return meta_parameters.RuleParams(
      log_rate=jnp.log(jnp.array([0.1, rate])),
      log_threshold=jnp.log(jnp.array([100.0, threshold])),
      log_penalty=jnp.log(jnp.float32(penalty)),
      log_write_noise_penalty=jnp.log(jnp.float32(write_noise_penalty)))


def problem(seed, num_samples=6):
  """Returns features, error, and a concave pulse response."""
  rng = np.random.default_rng(seed)
  steps = np.sort(rng.uniform(0.1, 1.0, (2, NUM_LEVELS) + SHAPE), axis=1)
  response = np.concatenate(
      [np.zeros((2, 1) + SHAPE), np.cumsum(steps[:, ::-1], axis=1)], axis=1)
  return (jnp.asarray(rng.normal(size=(num_samples, SHAPE[0])), jnp.float32),
          jnp.asarray(rng.normal(size=(num_samples, SHAPE[1])), jnp.float32),
          jnp.asarray(response, jnp.float32))


def effect(pulses, response):
  """Returns the weight change of signed pulses, entry by entry."""
  found = np.zeros(SHAPE)
  for index in np.ndindex(SHAPE):
    n = int(pulses[index])
    polarity = 0 if n >= 0 else 1
    found[index] = np.sign(n) * response[(polarity, abs(n)) + index]
  return found


def test_delta_uses_the_rate_of_the_last_layer():
  features, error, _ = problem(0)
  np.testing.assert_allclose(
      delta(features, error, params(rate=0.3), num_steps=2),
      oracles.delta_rule(np.asarray(features), np.asarray(error), 0.3, 2),
      rtol=1e-4, atol=1e-5)


def test_ridge_uses_the_learned_penalty():
  features, error, _ = problem(0)
  np.testing.assert_allclose(
      ridge(features, error, params(penalty=0.2)),
      oracles.ridge(np.asarray(features), np.asarray(error), 0.2),
      rtol=1e-3, atol=1e-4)


@hypothesis.given(seed=seeds, scale=st.floats(0.0, 4.0))
def test_nearest_has_no_better_neighbour(seed, scale):
  # Threshold 0.5 is rounding to the nearest level of the sign of the target.
  _, _, response = problem(seed)
  target = scale * jax.random.normal(jax.random.key(seed), SHAPE)
  pulses = compiled['nearest'](target, response, params(), 1)
  found = np.abs(effect(pulses, np.asarray(response)) - target)
  for n in range(-NUM_LEVELS, NUM_LEVELS + 1):
    other = np.abs(effect(np.full(SHAPE, n), np.asarray(response)) - target)
    assert np.all(found <= other + 1e-5)


@pytest.mark.parametrize('threshold, pulses', [(0.39, 1.0), (0.41, 0.0)])
def test_first_pulse_waits_for_the_learned_threshold(threshold, pulses):
  _, _, response = problem(0)
  target = 0.4 * response[0, 1]
  np.testing.assert_array_equal(compiled['nearest'](
      target, response, params(threshold=threshold), 1), pulses)
  target = 0.4 * response[1, 1]
  np.testing.assert_array_equal(compiled['nearest'](
      -target, response, params(threshold=threshold), 1), -pulses)


def test_threshold_gives_one_pulse_beyond_it():
  target = jnp.array([[0.4, -0.4], [0.6, -0.6], [9.0, -9.0], [0.0, 0.5]])
  np.testing.assert_array_equal(
      pulse_encoders.encode_threshold(target, None, params(threshold=0.5), 1),
      [[0, 0], [1, -1], [1, -1], [0, 0]])


def test_sign_gives_every_weight_a_pulse():
  _, _, response = problem(0)
  target = jnp.array([[0.4, -0.4], [1e-6, -1e-6], [9.0, -9.0], [0.0, 0.5]])
  np.testing.assert_array_equal(
      pulse_encoders.encode_sign(target, response, params(), 1),
      [[1, -1], [1, -1], [1, -1], [1, 1]])


@pytest.mark.parametrize('name', sorted(ENCODERS))
@hypothesis.given(seed=seeds, scale=st.floats(0.0, 100.0))
def test_pulses_are_whole_numbers_within_the_limit(name, seed, scale):
  features, error, response = problem(seed)
  target = scale * jax.random.normal(jax.random.key(seed), SHAPE)
  pulses = np.asarray(compiled[name](
      target, response, params(), 1, features, error))
  np.testing.assert_array_equal(pulses, np.round(pulses))
  assert np.max(np.abs(pulses)) <= NUM_LEVELS


def descent_objective(pulses, features, error, response, rule):
  """Returns support error + penalty |dW|^2 + the penalty of every pulse."""
  change = effect(pulses, np.asarray(response))
  power = np.mean(np.square(features), axis=0)[:, None]
  per_pulse = np.exp(rule.log_write_noise_penalty) * power * np.square(
      response[0, 1])
  return (np.mean(np.sum(np.square(error - features @ change), axis=1))
          + np.exp(rule.log_penalty) * np.sum(change ** 2)
          + np.sum(per_pulse * np.abs(pulses)))


@hypothesis.given(seed=seeds)
def test_descent_is_never_worse_than_nearest(seed):
  features, error, response = problem(seed)
  target = ridge(features, error, params())
  near, best = (
      descent_objective(
          np.asarray(compiled[name](
              target, response, params(), 1, features, error)),
          features, error, response, params())
      for name in ('nearest', 'descent'))
  assert best <= near + 1e-4 * (1.0 + near)


def test_descent_is_differentiated_as_nearest():
  features, error, response = problem(3)
  target = ridge(features, error, params())
  found, expected = (
      jax.jit(jax.grad(lambda w, fn=fn: jnp.sum(
          jnp.cos(jnp.arange(8.0)).reshape(SHAPE) * fn(
              w, response, params(), 1, features, error))))(target)
      for fn in (pulse_encoders.encode_descent, pulse_encoders.encode_nearest))
  np.testing.assert_array_equal(found, expected)
  assert np.any(expected != 0)


def test_a_huge_write_noise_penalty_forbids_every_pulse():
  features, error, response = problem(0)
  target = ridge(features, error, params())
  assert not compiled['descent'](
      target, response, params(write_noise_penalty=1e6), 1, features,
      error).any()


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_the_descent_takes_no_level_beyond_a_flat_pulse(sign):
  # The fourth pulse would be exact, if the third did not say: at its bound.
  response = jnp.array([0.0, 1.0, 2.0, 2.0, 5.0]).reshape(1, 5, 1, 1)
  features, error = jnp.ones((1, 1)), jnp.full((1, 1), sign * 5.0)
  pulses = compiled['descent'](
      error, jnp.concatenate([response, response]),
      params(penalty=1e-6, write_noise_penalty=1e-6), 1, features, error)
  assert pulses == sign * 2


@hypothesis.given(seed=seeds)
def test_order_of_the_support_set_does_not_matter_to_any_rule(seed):
  features, error, response = problem(seed)
  order = np.random.default_rng(seed).permutation(len(features))
  for delta_fn in (delta, ridge):
    a, b = (delta_fn(f, e, params()) for f, e in (
        (features, error), (features[order], error[order])))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
  first, second = (compiled['descent'](a, response, params(), 1, f, e)
                   for f, e in ((features, error),
                                (features[order], error[order])))
  np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('bits, levels', [(1, 1), (2, 1), (3, 3), (4, 7)])
def test_bits_fix_the_most_pulses(bits, levels):
  rule = update_rules.make(rule='ridge', encoding='nearest', update_bits=bits)
  assert rule.num_levels == levels
  assert (rule.encode_fn is pulse_encoders.encode_sign) == (bits == 1)


@pytest.mark.parametrize('changed, words', [
    ({'rule': 'hebb'}, "adapt.rule = 'hebb'"),
    ({'encoding': 'best'}, "adapt.encoding = 'best'"),
    ({'layers': 'hidden'}, "adapt.layers = 'hidden'"),
    ({'update_bits': 0}, 'update_bits = 0'),
    ({'update_bits': 9}, 'update_bits = 9'),
    ({'encoding': 'threshold', 'update_bits': 3}, 'update_bits = 3'),
    ({'layers': 'all', 'rule': 'ridge'}, "adapt.rule = 'ridge'"),
    ({'layers': 'all', 'num_steps': 2}, 'adapt.num_steps = 2'),
    ({'layers': 'all', 'encoding': 'descent'}, "adapt.encoding = 'descent'"),
])
def test_senseless_settings_raise_with_their_name(changed, words):
  settings = {'rule': 'delta', 'encoding': 'nearest', 'update_bits': 3}
  with pytest.raises(ValueError, match=words):
    update_rules.make(**{**settings, **changed})


@pytest.mark.parametrize('bits', [
    bits if bits in (1, 2, 4, 8) else
    pytest.param(bits, marks=pytest.mark.slow) for bits in range(1, 9)])
@pytest.mark.parametrize('family', ['ideal', 'pcm'])
def test_every_grid_gives_finite_pulses_even_where_devices_saturate(
    family, bits):
  top = quantization.max_level(bits)
  params = device_registry.FAMILIES[family].params(noise_scale=0.0)
  device = device_registry.make(family, params, top)
  targets = jnp.full((2, 1, 3, 1), 9.0)  # close to the end of the range
  response = jax.jit(lambda key: pulse_response.table(
      device, array.program(key, device, device, targets, 1.0), top, 50.0))(
          jax.random.key(0))
  rule = update_rules.make(rule='ridge', encoding='nearest', update_bits=bits)
  settings = meta_parameters.RuleParams(*(jnp.zeros((1,)),) * 2, jnp.zeros(()),
                                        jnp.zeros(()))

  def total(delta_w):
    pulses = rule.encode_fn(delta_w, response, settings, 0)
    return jnp.sum(pulses), pulses

  delta_w = jnp.array([[100.0], [-100.0], [0.0]])
  gradient, pulses = jax.jit(jax.grad(total, has_aux=True))(delta_w)
  assert bool(jnp.all(jnp.isfinite(gradient)))
  assert bool(jnp.all(jnp.abs(pulses) <= top))
  assert bool(jnp.all(pulses == jnp.round(pulses)))
