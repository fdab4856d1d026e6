"""Resistive memory against its oracle, its limits and its moments."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from meta_analog.devices import reram
from tests.oracles import device as oracles_device
from tests.oracles import reram as oracle

MAX_PULSES = 5
SIZE = 16384  # 6 errors are 3.3 % of a deviation
DEFAULT = reram.ReRamParams()
QUIET = DEFAULT._replace(noise_scale=0.0)
# One device like the other.
ALIKE = DEFAULT._replace(
    step_std=0.0, imbalance_std=0.0, high_std=0.0, low_std=0.0)
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.0, 40.0, width=32)
AGE = st.floats(2.0**-10, 1e8, width=32)

# Parameters are traced and shapes few, so each of these compiles rarely.


@jax.jit
def _program(key, params, target_uS):
  return reram.make(params).program(key, target_uS)


@functools.partial(jax.jit, static_argnames='max_pulses')
def _pulse(key, params, state, num_pulses, max_pulses=MAX_PULSES):
  device = reram.make(params, max_pulses=max_pulses)
  return device.pulse(key, state, num_pulses)


@jax.jit
def _reset(key, params, state, mask):
  return reram.make(params).reset(key, state, mask)


@jax.jit
def _read(key, params, state, elapsed_s):
  return reram.make(params).read(key, state, elapsed_s)


@jax.jit
def _mean(params, state, elapsed_s):
  return reram.make(params).read_stats(state, elapsed_s)[0]


def _state(g_uS, *, low=0.0, high=40.0, up=0.04, down=0.04, write=0.0,
           relaxation=0.0, age_s=0.0, size=3):
  """Returns a state made by hand, every field an array [size]."""
  full = lambda x: jnp.broadcast_to(jnp.float32(x), (size,))
  return reram.ReRamState(
      g_uS=full(g_uS), low_uS=full(low), high_uS=full(high), up_uS=full(up),
      down_uS=full(down), write_uS=full(write), relaxation=full(relaxation),
      age_s=full(age_s), num_pulses=full(0.0))


def _assert_same(a, b):
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x, y)


# Limits


def test_zero_noise_programs_the_target_and_the_mean_device():
  target = jnp.array([0.0, 12.0, 40.0])
  state = _program(jax.random.key(0), QUIET, target)
  np.testing.assert_array_equal(state.g_uS, target)
  for field, value in (
      (state.low_uS, 0.0), (state.high_uS, 40.0), (state.up_uS, 0.04),
      (state.down_uS, 0.04), (state.write_uS, 0.0), (state.relaxation, 0.0),
      (state.age_s, 0.0), (state.num_pulses, 0.0)):
    np.testing.assert_allclose(field, np.full(3, value), rtol=1e-6)
  _assert_same([_mean(QUIET, state, 1e6)], [target])


def test_zero_spreads_leave_one_device_repeated():
  state = _program(jax.random.key(0), ALIKE, jnp.full(64, 15.0))
  for field in (state.low_uS, state.high_uS, state.up_uS, state.down_uS):
    assert np.unique(field).size == 1
  assert np.unique(state.g_uS).size > 60


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
    assert np.all((now.low_uS >= 0) & (now.low_uS <= now.g_uS))
    assert np.all(now.g_uS <= now.high_uS)
    assert np.all((now.up_uS >= 0) & (now.down_uS >= 0))
    assert np.all(_mean(params, now, 1e4) >= 0)
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


@hypothesis.given(seed=SEED, g=G, scale=st.floats(0, 4, width=32), age=AGE)
def test_read_noise_scales_with_noise_scale(seed, g, scale, age):
  read = lambda s: _read(jax.random.key(seed), DEFAULT._replace(noise_scale=s),
                         _state(g, relaxation=0.5), age)
  np.testing.assert_allclose(
      read(scale) - read(0.0), scale * (read(1.0) - read(0.0)),
      rtol=1e-4, atol=1e-4)


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


@hypothesis.given(g=G, age=AGE, factor=st.floats(1.0625, 1e3, width=32))
def test_relaxation_never_goes_back(g, age, factor):
  at = lambda age: float(_mean(DEFAULT, _state(1e3, relaxation=1.0)._replace(
      g_uS=jnp.full(3, g)), age)[0]) - g
  assert 0 <= at(age) <= at(age * factor) + 1e-5
  np.testing.assert_allclose(
      at(age), oracle.relaxation(g, age), rtol=1e-3, atol=1e-3)


@hypothesis.given(seed=SEED, g=G, age=st.floats(0, 1e6, width=32))
def test_no_pulses_change_nothing_bit_for_bit(seed, g, age):
  state = _state(g, write=0.3, relaxation=0.7, age_s=age)
  _assert_same(state, _pulse(jax.random.key(seed), DEFAULT, state,
                             jnp.zeros(3)))
  _assert_same(state, _reset(jax.random.key(seed), DEFAULT, state,
                             jnp.zeros(3, bool)))


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
    wanted = oracle.train(start, **sizes, signs=[sign] * 5, normals=draws)
    for n in range(1, MAX_PULSES + 1):
      state = _pulse(jax.random.key(4), DEFAULT, _state(start, **sizes),
                     jnp.full(3, float(sign * n)))
      np.testing.assert_allclose(state.g_uS[1], wanted[n - 1], atol=2e-3)
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
  # The deviation grows as (1 + a^2)^(1/2), a = 1 - 0.04 / 25.
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


# Devices


def test_steps_spread_over_devices_and_little_between_up_and_down():
  state = _program(jax.random.key(0), DEFAULT, jnp.full(SIZE, 15.0))
  gain = (state.up_uS + state.down_uS) / 0.08
  gap = (state.up_uS - state.down_uS) / 0.08
  oracles_device.assert_moments(gain, 1.0, 0.3)
  oracles_device.assert_moments(gap, 0.0, 0.01)
  oracles_device.assert_uncorrelated(gain, gap)


def test_bounds_spread_over_devices():
  params = DEFAULT._replace(program_scale=0.0)
  state = _program(jax.random.key(0), params, jnp.full(SIZE, 15.0))
  oracles_device.assert_moments(state.high_uS, 40.0, 6.0)
  # low = 15 clip(-0.4 N, 0, 0.9): never below 0, nor nearer to ref than 1.5.
  z = np.clip(0.4 * stats.norm.ppf((np.arange(10**5) + 0.5) / 10**5), 0, 0.9)
  oracles_device.assert_moments(
      state.low_uS, 15 * z.mean(), 15 * z.std(), errors=4.0)
  assert np.min(state.low_uS) == 0
  np.testing.assert_allclose(np.max(state.low_uS), 13.5, rtol=1e-5)
  fields = (state.low_uS, state.high_uS, state.up_uS, state.relaxation)
  for i, a in enumerate(fields):
    for b in fields[:i]:
      oracles_device.assert_uncorrelated(a, b)


def test_a_device_reaches_every_target_and_its_bounds_make_room():
  for target in (0.5, 39.5):
    params = DEFAULT._replace(program_scale=0.0)
    state = _program(jax.random.key(0), params, jnp.full(SIZE, target))
    np.testing.assert_array_equal(state.g_uS, np.full(SIZE, target, 'f4'))
    edge = state.low_uS if target < 15 else state.high_uS
    assert 0.3 < np.mean(edge == np.float32(target)) < 0.7


@pytest.mark.parametrize('g_max', [20.0, 40.0])
@pytest.mark.parametrize('r', [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize('when, age', list(enumerate(oracle.POLYNOMIALS)))
def test_deviation_is_the_fit_scaled_with_the_range(r, g_max, when, age):
  params = DEFAULT._replace(g_max_uS=g_max)
  value = reram.programming_std_uS(params, jnp.float32(r * g_max), when)
  np.testing.assert_allclose(
      value, oracle.deviation(r * g_max, age, g_max), rtol=1e-4)


@pytest.mark.parametrize('target', [15.0, 20.0, 32.0])
def test_programming_and_time_give_the_published_deviations(target):
  state = _program(jax.random.key(0), DEFAULT, jnp.full(SIZE, target))
  oracles_device.assert_moments(
      state.g_uS, target, oracle.deviation(target, 1.0))
  for age in oracle.POLYNOMIALS:
    # The fits are taken at the state, not at the target: 0.7 % at most.
    mean = np.asarray(_mean(DEFAULT, state, age), np.float64)
    assert abs(mean.mean() - target) < 6 * mean.std() / np.sqrt(SIZE)
    np.testing.assert_allclose(
        mean.std(), oracle.deviation(target, age), rtol=0.04)


@pytest.mark.parametrize('age', [1e-3, 1.0, 10.0, 300.0, 3e4, 86400.0, 1e5,
                                 172800.0, 1e9])
def test_relaxation_is_the_oracle_at_every_age(age):
  g_uS = jnp.array([4.0, 20.0, 36.0])
  for scale in (1.0, 0.5):
    moved = reram.relaxation_uS(DEFAULT._replace(relax_scale=scale), g_uS, age)
    np.testing.assert_allclose(
        moved, [scale * oracle.relaxation(g, age) for g in (4, 20, 36)],
        rtol=1e-4, atol=1e-5)  # the last two fits differ little


def test_the_scales_of_programming_and_relaxation_are_factors():
  full, half = (_program(
      jax.random.key(0), DEFAULT._replace(program_scale=scale),
      jnp.full(3, 20.0)).g_uS - 20 for scale in (1.0, 0.5))
  np.testing.assert_allclose(half, 0.5 * full, rtol=1e-5)


@pytest.mark.parametrize('g_max, sigma', [(40.0, 0.4), (20.0, 0.2)])
def test_a_read_is_one_percent_of_the_range_and_not_clipped(g_max, sigma):
  state = _state(0.0, size=SIZE)
  g_uS = _read(jax.random.key(0), DEFAULT._replace(g_max_uS=g_max), state, 0.5)
  oracles_device.assert_moments(g_uS, 0.0, sigma)


def test_what_is_read_is_the_state_its_offset_and_its_relaxation():
  state = _state(20.0, write=-3.0, relaxation=-0.5)
  moved = oracle.relaxation(20.0, 86400.0)
  np.testing.assert_allclose(
      _mean(DEFAULT, state, 86400.0), np.full(3, 17 - 0.5 * moved), rtol=1e-5)
  assert np.all(_mean(DEFAULT, _state(1.0, write=-3.0), 1.0) == 0)


def test_reset_ends_just_above_the_lower_bound():
  before = _state(
      20.0, low=3.0, write=9.0, relaxation=9.0, age_s=4.0, size=SIZE)
  before = before._replace(num_pulses=jnp.full(SIZE, 4.0))
  mask = jnp.arange(SIZE) % 2 == 0
  after = _reset(jax.random.key(0), DEFAULT, before, mask)
  done = after._replace(**{f: getattr(after, f)[::2] for f in after._fields})
  assert np.min(done.g_uS) >= 3
  half = np.sqrt(2 / np.pi)
  oracles_device.assert_moments(
      done.g_uS, 3 + 0.2 * half, 0.2 * np.sqrt(1 - half**2))
  oracles_device.assert_moments(done.write_uS, 0.0, 2.24)
  oracles_device.assert_moments(done.relaxation, 0.0, 1.0)
  assert np.all(done.age_s == 0) and np.all(done.num_pulses == 0)
  for field in after._fields:
    np.testing.assert_array_equal(
        getattr(after, field)[1::2], getattr(before, field)[1::2])


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
  wanted = (at[high] - at[low]) / (high - low)
  np.testing.assert_allclose(slope, np.full(3, wanted), rtol=1e-4, atol=1e-5)


def test_the_count_gradient_stops_at_the_bound():
  # The next step would pass the bound: only the room counts.
  state = _state(39.0, up=60.0, high=40.0)
  slope = jax.grad(lambda n: jnp.sum(_pulse(
      jax.random.key(0), QUIET, state, n).g_uS))(jnp.zeros(3))
  wanted = 0.5 * (1.0 + 0.04 * 39 / 15)
  np.testing.assert_allclose(slope, np.full(3, wanted), rtol=1e-4)


@hypothesis.given(seed=SEED, g=st.floats(10, 30, width=32))
def test_gradient_of_a_train_to_the_state_is_the_shrinking_of_steps(seed, g):
  run = lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), DEFAULT, _state(1.0)._replace(g_uS=g_uS),
      jnp.array([5.0, -5.0, 1.0])).g_uS)
  slope = jax.grad(run)(jnp.full(3, g))
  up, down = 1 - 0.04 / 25, 1 - 0.04 / 15
  np.testing.assert_allclose(slope, [up**5, down**5, up], rtol=1e-5)


@pytest.mark.parametrize('age', [-5.0, 0.0, 1.0, 100.0, 86400.0, 1e6])
def test_a_read_is_differentiable_at_every_age(age):
  run = lambda g_uS: jnp.sum(_mean(
      DEFAULT, _state(1.0, relaxation=0.5)._replace(g_uS=g_uS), age))
  g_uS = jnp.array([5.0, 20.0, 30.0])
  slope = jax.grad(run)(g_uS)
  wanted = [1 + 0.5 * (oracle.relaxation(g + 1e-4, age) -
                       oracle.relaxation(g - 1e-4, age)) / 2e-4
            for g in (5.0, 20.0, 30.0)]
  np.testing.assert_allclose(slope, wanted, rtol=1e-3)


def test_programming_differentiates_to_its_target():
  run = lambda target: jnp.sum(_program(
      jax.random.key(0), DEFAULT, target).g_uS)
  target = jnp.array([10.0, 20.0, 30.0])
  difference = (run(target + 0.05) - run(target - 0.05)) / 0.1
  np.testing.assert_allclose(
      np.sum(jax.grad(run)(target)), difference, rtol=1e-3)


def test_two_keys_give_two_devices_and_one_key_one():
  run = lambda seed: _program(
      jax.random.key(seed), DEFAULT, jnp.full(3, 20.0))
  _assert_same(run(0), run(0))
  for field in ('g_uS', 'high_uS', 'up_uS', 'relaxation'):
    assert np.all(getattr(run(0), field) != getattr(run(1), field))
