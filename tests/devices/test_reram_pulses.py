"""Pulses of resistive memory: bounds, steps, draws and gradients."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import reram
from tests.helpers import reram_devices
from tests.oracles import device as oracles_device
from tests.oracles import reram as oracle

MAX_PULSES = reram_devices.MAX_PULSES
DEFAULT = reram_devices.DEFAULT
QUIET = reram_devices.QUIET
_program = reram_devices.program
_pulse = reram_devices.pulse
_reset = reram_devices.reset
_mean = reram_devices.mean
_state = reram_devices.state
_assert_same = reram_devices.assert_same
SIZE = 16384  # 6 errors are 3.3 % of a std
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.0, 40.0, width=32)


# Limits


@pytest.mark.parametrize('g', [0.0, 15.0, 38.0])
@pytest.mark.parametrize('num_pulses', [1, 3, 100])
def test_mean_pulses_approach_their_bound_geometrically(g, num_pulses):
  run = lambda sign: float(_pulse(
      jax.random.key(0), QUIET, _state(g), jnp.full(3, sign * num_pulses),
      max_pulses=100).g_uS[0])
  np.testing.assert_allclose(
      run(1.0), 40 - (40 - g) * (1 - 0.04 / 25) ** num_pulses, rtol=1e-5)
  np.testing.assert_allclose(
      run(-1.0), g * (1 - 0.04 / 15) ** num_pulses, rtol=1e-5)


def test_pulses_up_and_down_in_turn_end_at_the_symmetry_point():
  # Steps large enough to arrive; up and down differ, so it is not at ref.
  up, down, low, high = 2.0, 1.0, 3.0, 35.0
  state = _state(5.0, up=up, down=down, low=low, high=high)

  def turn(state, _):
    for sign in (1.0, -1.0):
      state = reram.make(QUIET, max_pulses=1).pulse(
          jax.random.key(0), state, jnp.full(3, sign))
    return state, None

  end = jax.lax.scan(turn, state, None, length=100)[0].g_uS[0]
  point = 15 + (up - down) / (up / (high - 15) + down / (15 - low))
  after_down = oracle.train(float(end), low, high, up, down, [1, -1], [0, 0])
  np.testing.assert_allclose(after_down[1], end, rtol=1e-5)
  assert end < point < after_down[0]  # the two ends of the last turn
  assert after_down[0] - end < 2.1


def test_steps_up_and_down_are_equal_at_the_reference():
  step = lambda sign: float(_pulse(
      jax.random.key(0), QUIET, _state(15.0), jnp.full(3, sign)).g_uS[0]) - 15
  np.testing.assert_allclose((step(1.0), step(-1.0)), (0.04, -0.04), rtol=1e-3)


# Laws


@hypothesis.given(seed=SEED, target=G, scale=st.floats(0, 50, width=32),
                  g_max=st.sampled_from([20.0, 40.0]))
def test_states_stay_within_the_bounds_of_their_device(
    seed, target, scale, g_max):
  params = DEFAULT._replace(noise_scale=scale, g_max_uS=g_max, step_uS=0.5)
  keys = jax.random.split(jax.random.key(seed), 3)
  state = _program(keys[0], params, jnp.full(3, target))
  pulsed = _pulse(keys[1], params, state, jnp.array([-5.0, 1.0, 5.0]))
  erased = _reset(keys[2], params, pulsed, jnp.ones(3, bool))
  for now in (state, pulsed, erased):
    assert np.all(now.low_uS <= now.g_uS)
    assert np.all(now.g_uS <= now.high_uS)
    assert np.all((now.up_uS >= 0) & (now.down_uS >= 0))
    assert np.all(np.isfinite(_mean(params, now, 1e4)))
  _assert_same((pulsed.low_uS, pulsed.high_uS), (state.low_uS, state.high_uS))


@hypothesis.given(a=st.floats(0, 39, width=32),
                  gap=st.floats(0.0625, 1.0, width=32))
def test_a_step_shrinks_towards_its_bound_and_keeps_the_order(a, gap):
  step = lambda sign: np.asarray(_pulse(
      jax.random.key(0), QUIET, _state(1.0, up=1.0, down=1.0)._replace(
          g_uS=jnp.array([a, a + gap, 20.0])), jnp.full(3, sign)).g_uS)
  up, down = step(1.0), step(-1.0)
  assert down[0] <= a < up[0] <= 40 and up[0] < up[1] and down[0] < down[1]
  tiny = 1e-5
  assert up[0] - a > up[1] - (a + gap) - tiny
  assert a - down[0] < a + gap - down[1] + tiny


@hypothesis.given(seed=SEED, g=G, scale=st.floats(0, 4, width=32))
def test_noise_of_a_train_scales_where_no_bound_is_near(seed, g, scale):
  wide = _state(g, low=-1e4, high=1e4)
  run = lambda s: _pulse(jax.random.key(seed), DEFAULT._replace(noise_scale=s),
                         wide, jnp.array([-3.0, 1.0, 5.0]))
  quiet, one, scaled = run(0.0), run(1.0), run(scale)
  for field in ('g_uS', 'write_uS', 'relaxation'):
    difference = lambda a: getattr(a, field) - getattr(quiet, field)
    np.testing.assert_allclose(
        difference(scaled), scale * difference(one), rtol=1e-3, atol=2e-3)


# Pulses


def test_a_train_is_the_oracle_with_the_same_draws():
  sizes = {'low': 2.0, 'high': 38.0, 'up': 0.5, 'down': 0.7}
  for sign, start in ((1, 20.0), (-1, 20.0), (1, 37.0), (-1, 3.0)):
    free = {**sizes, 'low': -1e4, 'high': 1e4}
    # Trains of 0 to 5 pulses share their draws; without bounds these show.
    paths = [float(_pulse(jax.random.key(4), DEFAULT, _state(start, **free),
                          jnp.full(3, float(sign * n))).g_uS[1])
             for n in range(MAX_PULSES + 1)]
    draws = []
    for before, after in zip(paths[:-1], paths[1:]):
      size = sizes['up'] if sign > 0 else sizes['down']
      quiet = oracle.train(before, -1e4, 1e4, 0.5, 0.7, [sign], [0.0])[0]
      draws.append((after - quiet) / (size * 3.75))
    expected = oracle.train(start, **sizes, signs=[sign] * 5, normals=draws)
    for n in range(1, MAX_PULSES + 1):
      state = _pulse(jax.random.key(4), DEFAULT, _state(start, **sizes),
                     jnp.full(3, float(sign * n)))
      np.testing.assert_allclose(state.g_uS[1], expected[n - 1], atol=2e-3)
      np.testing.assert_array_equal(state.num_pulses, np.full(3, n))


@pytest.mark.parametrize('sign, mean, std', [
    (1.0, 0.04 * 20 / 25, 0.15), (-1.0, -0.08 * 20 / 15, 0.3)])
def test_one_pulse_has_its_mean_and_its_spread_from_cycle_to_cycle(
    sign, mean, std):
  g_uS = _pulse(jax.random.key(1), DEFAULT, _state(20.0, down=0.08, size=SIZE),
                jnp.full(SIZE, sign)).g_uS
  oracles_device.assert_moments(g_uS - 20.0, mean, std)


def test_pulses_of_a_train_and_devices_are_independent():
  train = lambda n: np.asarray(_pulse(
      jax.random.key(2), DEFAULT, _state(20.0, size=SIZE),
      jnp.full(SIZE, n)).g_uS)
  first, second = train(1.0) - 20, train(2.0) - train(1.0)
  oracles_device.assert_uncorrelated(first, second)
  oracles_device.assert_uncorrelated(first[:-1], first[1:])
  # The std grows as (1 + a^2)^(1/2), a = 1 - 0.04 / 25.
  oracles_device.assert_moments(
      train(2.0), 40 - 20 * (1 - 0.04 / 25) ** 2,
      0.15 * np.sqrt(1 + (1 - 0.04 / 25) ** 2))


def test_a_train_draws_offset_and_relaxation_anew_where_it_touches():
  before = _state(20.0, write=9.0, relaxation=9.0, age_s=4.0, size=SIZE)
  count = jnp.tile(jnp.array([0.0, 1.0, -2.0, 5.0]), SIZE // 4)
  after = _pulse(jax.random.key(3), DEFAULT, before, count)
  touched = np.asarray(count != 0)
  for field, std in ((after.write_uS, 2.24), (after.relaxation, 1.0)):
    np.testing.assert_array_equal(field[~touched], np.full(SIZE // 4, 9.0))
    oracles_device.assert_moments(field[touched], 0.0, std)
  np.testing.assert_array_equal(after.age_s, np.where(touched, 0.0, 4.0))
  oracles_device.assert_uncorrelated(
      after.write_uS[touched], after.relaxation[touched])
  oracles_device.assert_uncorrelated(
      after.write_uS[touched], after.g_uS[touched])


# Gradients


@pytest.mark.parametrize('g', [0.5, 20.0, 39.9])
@pytest.mark.parametrize('n', [-5, -4, -1, 0, 1, 2, 5])
def test_gradient_to_the_pulse_count_is_the_central_difference(g, n):
  total = lambda count: jnp.sum(_pulse(
      jax.random.key(0), QUIET, _state(g, up=2.0, down=1.0), count).g_uS)
  slope = jax.grad(total)(jnp.full(3, float(n)))
  path = lambda sign: oracle.train(g, 0, 40, 2.0, 1.0, [sign] * 5, [0.0] * 5)
  at = {0: g} | {k + 1: x for k, x in enumerate(path(1))} | {
      -k - 1: x for k, x in enumerate(path(-1))}
  low, high = max(n - 1, -5), min(n + 1, 5)
  expected = (at[high] - at[low]) / (high - low)
  np.testing.assert_allclose(slope, np.full(3, expected), rtol=1e-4, atol=1e-5)


def test_the_count_gradient_stops_at_the_bound():
  # The next step would pass the bound: only the headroom counts.
  state = _state(39.0, up=60.0, high=40.0)
  slope = jax.grad(lambda n: jnp.sum(_pulse(
      jax.random.key(0), QUIET, state, n).g_uS))(jnp.zeros(3))
  expected = 0.5 * (1.0 + 0.04 * 39 / 15)
  np.testing.assert_allclose(slope, np.full(3, expected), rtol=1e-4)


@hypothesis.given(seed=SEED, g=st.floats(10, 30, width=32))
def test_gradient_of_a_train_to_the_state_is_the_shrinking_of_steps(seed, g):
  run = lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), DEFAULT, _state(1.0)._replace(g_uS=g_uS),
      jnp.array([5.0, -5.0, 1.0])).g_uS)
  slope = jax.grad(run)(jnp.full(3, g))
  up, down = 1 - 0.04 / 25, 1 - 0.04 / 15
  np.testing.assert_allclose(slope, [up**5, down**5, up], rtol=1e-5)
