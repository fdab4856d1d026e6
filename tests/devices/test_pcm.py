"""Phase-change memory against its oracle, its limits and its moments."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm
from tests.oracles import device as oracle

MAX_PULSES = 20
QUIET = pcm.PCMParams(noise_scale=0.0)
# No bound within reach: the draw shows in the state.
FREE = pcm.PCMParams(g_min_uS=-1e4, g_max_uS=1e4, g_reset_min_uS=-1e4)
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.125, 12.0, width=32)
P = st.floats(0.0, 1.0, width=32)
NOISE = st.floats(0.0, 4.0, width=32)

# Parameters are traced and shapes few, so each of these compiles rarely.


@jax.jit
def _program(key, params, target_uS):
  return pcm.make(params).program(key, target_uS)


@functools.partial(jax.jit, static_argnames='max_pulses')
def _pulse(key, params, state, num_pulses, max_pulses=MAX_PULSES):
  device = pcm.make(params, max_pulses=max_pulses)
  return device.pulse(key, state, num_pulses)


@jax.jit
def _reset(key, params, state, mask):
  return pcm.make(params).reset(key, state, mask)


@jax.jit
def _read(key, params, state, elapsed_s):
  return pcm.make(params).read(key, state, elapsed_s)


@jax.jit
def _read_stats(params, state, elapsed_s):
  return pcm.make(params).read_stats(state, elapsed_s)


def _state(g_uS, memory=0.0, *, nu=0.04, step=1.0, age_s=0.0, size=3):
  """Returns a state made by hand, every field an array [size]."""
  full = lambda x: jnp.broadcast_to(jnp.float32(x), (size,))
  return pcm.PCMState(
      g_uS=full(g_uS), pulse_memory=full(memory), age_s=full(age_s),
      nu=full(nu), step=full(step), num_pulses=full(0.0))


def _fresh(size, params=pcm.PCMParams(reset_std=0.0)):
  """Returns devices [size] after RESET; the spread is zero by default."""
  everywhere = jnp.ones(size, bool)
  return _reset(jax.random.key(99), params, _state(5.0, size=size), everywhere)


def _assert_same(a, b):
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x, y)


# Limits


def test_zero_noise_programs_the_target():
  target = jnp.array([0.1, 3.0, 12.0])
  state = _program(jax.random.key(0), QUIET, target)
  np.testing.assert_array_equal(state.g_uS, target)
  np.testing.assert_array_equal(state.nu, jnp.full(3, oracle.NU_MEAN))
  np.testing.assert_array_equal(state.step, np.ones(3))
  np.testing.assert_array_equal(state.age_s, np.zeros(3))
  np.testing.assert_array_equal(state.num_pulses, np.zeros(3))
  np.testing.assert_array_equal(state.pulse_memory, np.zeros(3))


def test_zero_noise_reads_the_target_at_t0():
  target = jnp.array([0.1, 3.0, 12.0])
  state = _program(jax.random.key(0), QUIET, target)
  g_uS = _read(jax.random.key(1), QUIET, state, oracle.T0_S)
  np.testing.assert_allclose(g_uS, target, rtol=1e-6)


@hypothesis.given(g=G, age=st.floats(-10.0, 1e6, width=32))
def test_zero_nu_does_not_drift(g, age):
  state = _state(g, nu=0.0)
  _, sigma = _read_stats(pcm.PCMParams(), state, age)
  assert _read(jax.random.key(0), QUIET, state, age)[0] == state.g_uS[0]
  np.testing.assert_allclose(sigma, oracle.read_sigma(g), rtol=1e-5)


def test_zero_spreads_leave_one_device_repeated():
  params = pcm.PCMParams(nu_std=0.0, step_std=0.0)
  state = _program(jax.random.key(0), params, jnp.full(64, 5.0))
  assert np.unique(state.nu).size == np.unique(state.step).size == 1
  assert np.unique(state.g_uS).size > 60


def test_pulse_memory_after_programming_is_the_parameter():
  params = pcm.PCMParams(pulse_memory_after_program=0.25)
  state = _program(jax.random.key(0), params, jnp.full(3, 5.0))
  np.testing.assert_array_equal(state.pulse_memory, np.full(3, 0.25))


# Same key: laws about noise without statistics


@hypothesis.given(
    seed=SEED, g=G, scale=NOISE, age=st.floats(0.5, 1e6, width=32))
def test_read_noise_scales_with_noise_scale(seed, g, scale, age):
  state = _state(g)
  read = lambda s: _read(
      jax.random.key(seed), pcm.PCMParams(noise_scale=s), state, age)
  mean = read(0.0)
  np.testing.assert_allclose(
      read(scale) - mean, scale * (read(1.0) - mean), rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, g=G, age=st.floats(0.5, 1e6, width=32))
def test_read_noise_is_affine_in_the_drifted_conductance(seed, g, age):
  read = lambda g, nu, age: _read(
      jax.random.key(seed), pcm.PCMParams(), _state(g, nu=nu), age)
  draw = read(0.0, 0.0, 1.0) / oracle.C3
  mean = oracle.drift(g, 0.04, age)
  np.testing.assert_allclose(
      read(g, 0.04, age), mean + oracle.read_sigma(mean) * draw,
      rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, g=G, scale=NOISE)
def test_every_programming_error_scales_with_noise_scale(seed, g, scale):
  def error(scale):
    params = FREE._replace(noise_scale=scale, nu_mean=10.0, step_std=0.01)
    state = _program(jax.random.key(seed), params, jnp.full(3, g))
    return jnp.stack([state.g_uS - g, state.nu - 10.0, state.step - 1.0])

  np.testing.assert_allclose(error(scale), scale * error(1.0), atol=2e-5)
  np.testing.assert_array_equal(error(0.0), np.zeros((3, 3)))


@hypothesis.given(seed=SEED, g=G)
def test_programming_error_follows_its_sigma(seed, g):
  error = lambda g: _program(
      jax.random.key(seed), FREE, jnp.full(3, g)).g_uS - g
  wanted = error(0.0) * oracle.program_sigma(g) / oracle.program_sigma(0.0)
  np.testing.assert_allclose(error(g), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('g, sigma', [
    (0.0, 0.26348), (1.0, 0.340203), (5.0, 0.609555), (12.0, 0.936392),
    (25.0, 1.055355)])
def test_programming_sigma_is_the_published_polynomial(g, sigma):
  ours = pcm.program_sigma_uS(pcm.PCMParams(), jnp.float32(g))
  np.testing.assert_allclose(ours, sigma, rtol=1e-6)
  np.testing.assert_allclose(ours, oracle.program_sigma(g), rtol=1e-6)


@hypothesis.given(seed=SEED, g=G, memory=P, scale=NOISE)
def test_noise_of_one_pulse_scales_with_noise_scale(seed, g, memory, scale):
  step = lambda s: _pulse(
      jax.random.key(seed), FREE._replace(noise_scale=s), _state(g, memory),
      jnp.ones(3), max_pulses=1).g_uS
  mean = step(0.0)
  np.testing.assert_allclose(
      step(scale) - mean, scale * (step(1.0) - mean), rtol=1e-4, atol=1e-4)


@hypothesis.given(seed=SEED, scale=NOISE)
def test_reset_noise_scales_with_noise_scale(seed, scale):
  reset = lambda s: _reset(
      jax.random.key(seed), FREE._replace(noise_scale=s), _state(5.0),
      jnp.ones(3, bool)).g_uS
  np.testing.assert_allclose(
      reset(scale) - 0.1, scale * (reset(1.0) - 0.1), atol=1e-6)


# The oracle


@hypothesis.given(g=G, memory=P, n=st.integers(0, MAX_PULSES),
                  step=st.floats(0.5, 1.5, width=32),
                  g_max=st.sampled_from([8.0, 12.0, 20.0]))
def test_a_noise_free_train_is_the_oracle(g, memory, n, step, g_max):
  g = min(g, g_max)
  state = _pulse(jax.random.key(0), QUIET._replace(g_max_uS=g_max),
                 _state(g, memory, step=step), jnp.array([0.0, 1.0, n]))
  for i, count in enumerate([0, 1, n]):
    path, memories = oracle.set_train(
        g, memory, np.zeros(count), step=step, g_max=g_max)
    np.testing.assert_allclose(state.g_uS[i], ([g] + path)[-1], rtol=1e-5)
    np.testing.assert_allclose(
        state.pulse_memory[i], ([memory] + memories)[-1], rtol=1e-5)
    assert state.num_pulses[i] == count


@hypothesis.given(seed=SEED, g=G, memory=P, noise=st.floats(0.0, 2.0, width=32),
                  step=st.floats(0.5, 1.5, width=32))
def test_a_noisy_train_is_the_oracle_with_the_same_draws(
    seed, g, memory, noise, step
):
  # A device at 0 uS without memory moves by c1 + c2 z: it shows the draw z.
  params = pcm.PCMParams(noise_scale=noise)
  one = lambda i, params, state: _pulse(
      jax.random.fold_in(jax.random.key(seed), i), params, state, jnp.ones(3),
      max_pulses=1)
  state, draws, path = _state(g, memory, step=step), [], []
  for i in range(6):
    draws.append((one(i, FREE, _state(0.0)).g_uS - oracle.C1) / oracle.C2)
    state = one(i, params, state)
    path.append(state.g_uS)
  for device in range(3):
    wanted, _ = oracle.set_train(
        g, memory, [float(d[device]) for d in draws], noise=noise, step=step)
    np.testing.assert_allclose(
        [g_uS[device] for g_uS in path], wanted, rtol=1e-3, atol=1e-3)


def test_a_train_in_one_call_is_its_pulses_one_by_one():
  together = _pulse(jax.random.key(0), QUIET, _fresh(3), jnp.full(3, 5.0))
  apart = _fresh(3)
  for i in range(5):
    apart = _pulse(jax.random.key(i), QUIET, apart, jnp.ones(3))
  for x, y in zip(together, apart, strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-6)


@hypothesis.given(seed=SEED)
def test_permuting_noise_free_devices_permutes_the_result(seed):
  draw = np.random.default_rng(seed)
  state = _state(0.0)._replace(
      g_uS=jnp.float32(draw.uniform(0.1, 12, 3)),
      pulse_memory=jnp.float32(draw.uniform(0, 1, 3)),
      nu=jnp.float32(draw.uniform(0, 0.1, 3)),
      step=jnp.float32(draw.uniform(0.5, 1.5, 3)))
  count = jnp.float32(draw.integers(0, 6, 3))
  order = jnp.array(draw.permutation(3))
  run = lambda state, count: _pulse(
      jax.random.key(0), QUIET, state, count)
  pick = lambda tree: jax.tree.map(lambda x: x[order], tree)
  _assert_same(pick(run(state, count)), run(pick(state), count[order]))
  read = lambda state: _read(jax.random.key(1), QUIET, state, 99.0)
  _assert_same([pick(read(state))], [read(pick(state))])


# SET: moments

SIZE = 65536  # catches 1 % of a mean step and 3 % of its deviation


@functools.partial(jax.jit, static_argnames='num_pulses')
def _paths(key, params, state, num_pulses):
  """Returns the conductance after each of num_pulses calls with one SET."""
  device = pcm.make(params, max_pulses=1)

  def body(state, key):
    state = device.pulse(key, state, jnp.ones_like(state.g_uS))
    return state, state.g_uS

  return jax.lax.scan(body, state, jax.random.split(key, num_pulses))[1]


def test_the_first_pulse_after_reset_has_its_exact_moments():
  g_uS = _pulse(jax.random.key(1), pcm.PCMParams(), _fresh(SIZE),
                jnp.ones(SIZE), max_pulses=1).g_uS
  oracle.assert_moments(g_uS, 2.05494, 1.51936)
  share = 0.14615  # of devices end at the lower bound
  error = np.sqrt(share * (1 - share) / SIZE)
  assert abs(np.mean(g_uS == np.float32(oracle.G_MIN)) - share) < 6 * error
  assert np.min(g_uS) == np.float32(oracle.G_MIN)


@pytest.mark.parametrize('g_max', [12.0, 20.0])
def test_twenty_pulses_from_reset_have_the_exact_clipped_moments(g_max):
  params = pcm.PCMParams(g_max_uS=g_max)
  paths = _paths(jax.random.key(2), params, _fresh(SIZE), MAX_PULSES)
  exact = oracle.clipped_moments(MAX_PULSES, g_max)
  for n in range(MAX_PULSES):
    oracle.assert_moments(paths[n], *exact[n])


def test_a_long_train_in_one_call_has_the_exact_clipped_moments():
  count = jnp.full(SIZE, 7.0)
  g_uS = _pulse(jax.random.key(3), pcm.PCMParams(), _fresh(SIZE), count).g_uS
  oracle.assert_moments(g_uS, *oracle.clipped_moments(7, 12.0)[-1])


def test_twenty_pulses_without_bounds_have_the_closed_form_moments():
  paths = _paths(jax.random.key(4), FREE, _fresh(SIZE), MAX_PULSES)
  exact = oracle.unclipped_moments(MAX_PULSES)
  for n in range(MAX_PULSES):
    oracle.assert_moments(paths[n], *exact[n])


@pytest.mark.parametrize('g_max', [12, 20])
def test_the_shared_reference_table_is_reproduced(g_max):
  table = oracle.reference_table('nandakumar2018_set_pulses.csv')
  if table is None:
    pytest.skip('shared/reference/nandakumar2018_set_pulses.csv is not here')
  num_reference, rounding = 1e5, 5e-4  # physics.md, 8.1
  params = pcm.PCMParams(g_max_uS=float(g_max))
  paths = _paths(jax.random.key(5), params, _fresh(SIZE), len(table))
  paths = np.asarray(paths, np.float64)
  mean, std = paths.mean(1), paths.std(1)
  kurtosis = np.mean((paths - mean[:, None]) ** 4, 1) / std**4
  per_sample = np.sqrt(1 / SIZE + 1 / num_reference)
  error_mean = 5 * std * per_sample + rounding
  error_std = 5 * std * np.sqrt((kurtosis - 1) / 4) * per_sample + rounding
  assert np.all(abs(mean - table[f'mean_uS_gmax{g_max}']) < error_mean)
  assert np.all(abs(std - table[f'std_uS_gmax{g_max}']) < error_std)


def test_the_oracle_agrees_with_the_tabulated_moments():
  # physics.md, table 8.1, k = 1, 5, 10, 20; the table is a simulation.
  rows = np.array([1, 5, 10, 20]) - 1
  table = {12.0: [(2.056, 1.521), (5.894, 2.311), (7.690, 2.165),
                  (8.914, 1.969)],
           20.0: [(2.056, 1.521), (5.916, 2.377), (7.829, 2.465),
                  (9.400, 2.664)]}
  for g_max, wanted in table.items():
    exact = oracle.clipped_moments(20, g_max)[rows]
    np.testing.assert_allclose(exact, wanted, atol=0.04)
  np.testing.assert_allclose(
      oracle.unclipped_moments(20)[rows],
      [(1.925, 1.733), (5.805, 2.457), (7.759, 2.492), (9.380, 2.694)],
      atol=1e-3)


def test_memory_decays_before_the_step_and_not_after():
  state = _fresh(SIZE)
  g_uS = _pulse(jax.random.key(6), pcm.PCMParams(), state, jnp.ones(SIZE),
                max_pulses=1).g_uS
  right = oracle.clipped_moments(1, 12.0)[0]
  wrong = oracle.clipped_moments(1, 12.0, decay_first=False)[0]
  np.testing.assert_allclose(wrong, [2.599, 2.069], atol=0.04)  # column D
  oracle.assert_moments(g_uS, *right)
  with pytest.raises(AssertionError):
    oracle.assert_moments(g_uS, *wrong)


def test_memory_is_the_exponential_of_the_pulses_since_reset():
  count = jnp.arange(MAX_PULSES + 1, dtype=jnp.float32)
  state = _pulse(jax.random.key(7), pcm.PCMParams(), _fresh(MAX_PULSES + 1),
                 count)
  np.testing.assert_allclose(state.pulse_memory, np.exp(-count / 2.6),
                             rtol=1e-5)
  np.testing.assert_array_equal(state.num_pulses, count)


@pytest.mark.parametrize('g, memory', [
    (0.0, 0.0), (10.0, 0.0), (0.0, 1.0), (10.0, 1.0)])
def test_one_step_has_the_stated_mean_and_deviation(g, memory):
  # 65536 devices: 6 errors are 1.7 % of the deviation.
  g_uS = _pulse(jax.random.key(8), FREE, _state(g, memory, size=SIZE),
                jnp.ones(SIZE), max_pulses=1).g_uS
  decayed = memory * np.exp(-1 / 2.6)
  oracle.assert_moments(
      g_uS - g, -0.084 * g + 0.880 + 1.40 * decayed,
      0.091 * g + 0.260 + 2.15 * decayed)


def test_step_spread_changes_the_mean_step_and_not_its_noise():
  moved = [
      _pulse(jax.random.key(9), FREE, _state(2.0, 0.5, step=step), jnp.ones(3),
             max_pulses=1).g_uS for step in (0.0, 1.0, 2.0)]
  mean = -0.084 * 2 + 0.880 + 1.40 * 0.5 * np.exp(-1 / 2.6)
  np.testing.assert_allclose(moved[1] - moved[0], np.full(3, mean), rtol=1e-4)
  np.testing.assert_allclose(moved[2] - moved[0], np.full(3, 2 * mean),
                             rtol=1e-4)


# SET and RESET: bounds and bookkeeping


@hypothesis.given(seed=SEED, g=G, memory=P, scale=st.floats(0, 20, width=32),
                  g_max=st.sampled_from([8.0, 12.0, 20.0]))
def test_set_keeps_the_state_between_its_bounds(seed, g, memory, scale, g_max):
  params = pcm.PCMParams(noise_scale=scale, g_max_uS=g_max)
  state = _pulse(jax.random.key(seed), params, _state(min(g, g_max), memory),
                 jnp.array([1.0, 3.0, 20.0]))
  assert np.all(state.g_uS >= np.float32(0.1))
  assert np.all(state.g_uS <= np.float32(g_max))
  assert np.all((state.pulse_memory >= 0) & (state.pulse_memory <= 1))


@hypothesis.given(seed=SEED, scale=st.floats(0, 50, width=32))
def test_reset_keeps_the_state_between_its_bounds(seed, scale):
  params = pcm.PCMParams(noise_scale=scale, reset_std=1.0)
  state = _reset(jax.random.key(seed), params, _state(5.0), jnp.ones(3, bool))
  assert np.all((state.g_uS >= np.float32(0.01)) & (state.g_uS <= 12.0))


def test_strong_noise_reaches_each_stated_bound():
  wild = pcm.PCMParams(noise_scale=50.0)
  after_set = _pulse(jax.random.key(0), wild, _fresh(16384), jnp.ones(16384),
                     max_pulses=1).g_uS
  after_reset = _reset(jax.random.key(1), wild._replace(reset_std=10.0),
                       _fresh(16384), jnp.ones(16384, bool)).g_uS
  programmed = _program(jax.random.key(2), wild, jnp.full(16384, 5.0)).g_uS
  for g_uS, low in ((after_set, 0.1), (after_reset, 0.01), (programmed, 0.1)):
    assert (np.min(g_uS), np.max(g_uS)) == (np.float32(low), np.float32(12.0))


def test_reset_has_its_mean_and_spread():
  # 16384 devices: 6 errors are 3.3 % of the spread, 0.5 % of the mean.
  state = _fresh(16384, pcm.PCMParams())
  oracle.assert_moments(state.g_uS, 0.1, 0.01)
  assert np.min(state.g_uS) < 0.1  # the bound of SET does not apply


def test_reset_starts_memory_drift_and_count_afresh_where_masked():
  before = _state(5.0, 0.2, nu=0.03, step=1.2, age_s=4.0)._replace(
      num_pulses=jnp.full(3, 6.0))
  mask = jnp.array([True, False, True])
  after = _reset(jax.random.key(0), pcm.PCMParams(), before, mask)
  np.testing.assert_array_equal(after.pulse_memory, jnp.array([1, 0.2, 1]))
  np.testing.assert_array_equal(after.age_s, [0, 4, 0])
  np.testing.assert_array_equal(after.num_pulses, [0, 6, 0])
  assert after.g_uS[1] == 5.0 and after.g_uS[0] < 1 and after.g_uS[2] < 1
  _assert_same((after.nu, after.step), (before.nu, before.step))


@hypothesis.given(seed=SEED, g=G, memory=P, age=st.floats(0, 1e6, width=32))
def test_no_pulses_change_nothing_bit_for_bit(seed, g, memory, age):
  state = _state(g, memory, age_s=age)
  for count in (0.0, -2.0):
    after = _pulse(jax.random.key(seed), pcm.PCMParams(), state,
                   jnp.full(3, count))
    _assert_same(state, after)
  after = _reset(jax.random.key(seed), pcm.PCMParams(), state,
                 jnp.zeros(3, bool))
  _assert_same(state, after)


def test_drift_restarts_on_pulsed_devices_only():
  state = _state(4.0, age_s=10.0)
  after = _pulse(jax.random.key(0), QUIET, state, jnp.array([0.0, 1.0, 3.0]))
  np.testing.assert_array_equal(after.age_s, [10.0, 0.0, 0.0])
  g_uS = _read(jax.random.key(1), QUIET, after, 100.0)
  for i, age in enumerate([110.0, 100.0, 100.0]):
    wanted = oracle.drift(float(after.g_uS[i]), 0.04, age)
    np.testing.assert_allclose(g_uS[i], wanted, rtol=1e-5)


def test_a_pulse_erases_the_drift_of_its_device():
  # The step is added to the conductance at T0, not to the drifted one.
  state = _pulse(jax.random.key(0), QUIET, _state(4.0, age_s=1e6), jnp.ones(3))
  mean = _read_stats(QUIET, state, oracle.T0_S)[0]
  np.testing.assert_allclose(mean, np.full(3, 4.0 - 0.084 * 4 + 0.88),
                             rtol=1e-4)


# Drift


@pytest.mark.parametrize('age, ratios', [
    (1.0, [1.11991, 1.15735, 1.24507, 1.44098]),
    (10.0, [1.04276, 1.05551, 1.08441, 1.14461]),
    (38.6, [1.0, 1.0, 1.0, 1.0]),
    (1e2, [0.97092, 0.96264, 0.94449, 0.90920]),
    (1e3, [0.90403, 0.87794, 0.82261, 0.72220]),
    (1e4, [0.84175, 0.80069, 0.71647, 0.57367]),
    (1e5, [0.78376, 0.73024, 0.62402, 0.45568]),
    (1e6, [0.72977, 0.66598, 0.54349, 0.36196])])
def test_drift_is_the_published_table(age, ratios):
  nu = jnp.array([0.031, 0.04, 0.06, 0.10])
  state = _state(6.0, size=4)._replace(nu=nu)
  mean, _ = _read_stats(pcm.PCMParams(), state, age)
  np.testing.assert_allclose(mean / 6.0, ratios, atol=1e-5)


@hypothesis.given(g=G, nu=st.floats(2.0**-6, 0.125, width=32),
                  age=st.floats(2.0**-9, 1e6, width=32),
                  factor=st.floats(1.0625, 1e3, width=32))
def test_drift_falls_with_time_and_never_below_zero(g, nu, age, factor):
  mean = lambda age: float(_read_stats(QUIET, _state(g, nu=nu), age)[0][0])
  assert 0 < mean(age * factor) < mean(age)
  np.testing.assert_allclose(mean(age), oracle.drift(g, nu, age), rtol=1e-4)


@pytest.mark.parametrize('age', [-1e6, -1.0, 0.0, 1e-4, 1e-3])
def test_a_read_before_one_millisecond_is_the_read_at_one_millisecond(age):
  def total(g_uS, nu, age):
    state = _state(1.0)._replace(g_uS=g_uS, nu=nu)
    return jnp.sum(_read(jax.random.key(0), pcm.PCMParams(), state, age))

  g_uS, nu = jnp.full(3, 4.0), jnp.full(3, 0.04)
  value, slopes = jax.value_and_grad(total, (0, 1, 2))(g_uS, nu, age)
  at_bound, _ = jax.value_and_grad(total, (0, 1, 2))(g_uS, nu, 1e-3)
  np.testing.assert_allclose(value, at_bound, rtol=1e-6)
  assert all(np.all(np.isfinite(slope)) for slope in slopes)
  mean, _ = _read_stats(pcm.PCMParams(), _state(4.0), age)
  np.testing.assert_allclose(mean, np.full(3, oracle.drift(4.0, 0.04, age)),
                             rtol=1e-5)


# Read


@pytest.mark.parametrize('g, sigma', [
    (0.1, 0.1330), (0.5, 0.1450), (1.0, 0.160), (2.0, 0.190), (4.0, 0.250),
    (6.0, 0.310), (8.0, 0.370), (10.0, 0.430), (12.0, 0.490), (20.0, 0.730)])
def test_read_noise_is_the_published_table(g, sigma):
  # 16384 devices: 6 errors are 3.3 % of the deviation.
  state = _state(g, size=16384)
  sample = _read(jax.random.key(0), pcm.PCMParams(), state, oracle.T0_S)
  oracle.assert_moments(sample, g, sigma)
  mean, stated = _read_stats(pcm.PCMParams(), state, oracle.T0_S)
  np.testing.assert_allclose(mean, np.full(16384, g), rtol=1e-5)
  np.testing.assert_allclose(stated, np.full(16384, sigma), rtol=1e-5)


def test_read_noise_belongs_to_the_drifted_conductance():
  # 16384 devices at 1e6 s: the undrifted deviation would be 24 % larger.
  state = _state(10.0, size=16384)
  sample = _read(jax.random.key(0), pcm.PCMParams(), state, 1e6)
  oracle.assert_moments(sample, 6.6598, 0.03 * 6.6598 + 0.13)


def test_reads_are_not_clipped_at_either_bound():
  sample = _read(jax.random.key(0), pcm.PCMParams(), _state(0.1, size=16384),
                 oracle.T0_S)
  assert np.min(sample) < 0
  sample = _read(jax.random.key(0), pcm.PCMParams(), _state(12.0, size=16384),
                 oracle.T0_S)
  assert np.max(sample) > 12.5


# Devices


def test_the_drift_exponent_spreads_over_devices():
  # 65536 devices: 6 errors are 0.6 % of the mean, 1.7 % of the spread.
  state = _program(jax.random.key(0), pcm.PCMParams(), jnp.full(SIZE, 5.0))
  oracle.assert_moments(state.nu, 0.04, 0.01)
  assert np.unique(state.step).size == 1  # no spread of the step by default


def test_negative_exponents_and_steps_are_cut_at_zero():
  params = pcm.PCMParams(nu_mean=0.0, step_std=2.0)
  state = _program(jax.random.key(0), params, jnp.full(16384, 5.0))
  for field, share in ((state.nu, 0.5), (state.step, 0.308538)):
    assert np.min(field) == 0
    error = np.sqrt(share * (1 - share) / 16384)
    assert abs(np.mean(field == 0) - share) < 6 * error


def test_the_step_spreads_over_devices():
  params = pcm.PCMParams(step_std=0.1)
  state = _program(jax.random.key(0), params, jnp.full(SIZE, 5.0))
  oracle.assert_moments(state.step, 1.0, 0.1)


@pytest.mark.parametrize('target', [0.1, 2.0, 6.0, 12.0])
def test_programming_error_has_its_published_deviation(target):
  # 65536 devices: 6 errors are 1.7 % of the deviation.
  state = _program(jax.random.key(0), FREE, jnp.full(SIZE, target))
  sigma = 0.26348 + 0.0786 * target - 0.001877 * target**2
  oracle.assert_moments(state.g_uS, target, sigma)


# Keys


def test_noise_is_uncorrelated_between_devices_keys_and_quantities():
  params = FREE._replace(step_std=0.1)
  state = _program(jax.random.key(0), params, jnp.full(SIZE, 5.0))
  reads = [_read(jax.random.key(i), params, _state(5.0, size=SIZE), 1.0)
           for i in range(2)]
  for sample in (state.g_uS, state.nu, state.step, reads[0]):
    oracle.assert_uncorrelated(sample[:-1], sample[1:])
  for a, b in ((state.g_uS, state.nu), (state.nu, state.step),
               (state.g_uS, state.step), (reads[0], reads[1])):
    oracle.assert_uncorrelated(a, b)


def test_noise_is_uncorrelated_between_the_pulses_of_a_train():
  train = lambda n: _pulse(
      jax.random.key(0), FREE, _state(5.0, size=SIZE), jnp.full(SIZE, n)).g_uS
  g1, g2, g3 = train(1.0), train(2.0), train(3.0)
  draw = lambda new, old: (new - old - 0.88 + 0.084 * old) / (
      0.26 + 0.091 * old)
  first, second, third = draw(g1, 5.0), draw(g2, g1), draw(g3, g2)
  for sample in (first, second, third):
    oracle.assert_moments(sample, 0.0, 1.0)
  for a, b in ((first, second), (second, third), (first, third)):
    oracle.assert_uncorrelated(a, b)


def test_two_keys_give_two_devices_and_one_key_one():
  program = lambda seed: _program(
      jax.random.key(seed), pcm.PCMParams(), jnp.full(3, 5.0)).g_uS
  _assert_same(program(0), program(0))
  assert np.all(program(0) != program(1))


# Gradients


@pytest.mark.parametrize('g', [0.5, 4.0, 9.0])
@pytest.mark.parametrize('memory', [0.0, 1.0])
@pytest.mark.parametrize('n', [0, 1, 2, 3, 5])
def test_gradient_to_the_pulse_count_is_the_central_difference(g, memory, n):
  total = lambda count: jnp.sum(_pulse(
      jax.random.key(0), QUIET, _state(g, memory), count,
      max_pulses=5).g_uS)
  slope = jax.grad(total)(jnp.full(3, float(n)))
  path = [g] + oracle.set_train(g, memory, np.zeros(5))[0]
  low, high = max(n - 1, 0), min(n + 1, 5)
  wanted = (path[high] - path[low]) / (high - low)
  np.testing.assert_allclose(slope, np.full(3, wanted), rtol=1e-4, atol=1e-5)


def test_pulse_count_gradient_leaves_the_value_and_the_noise_alone():
  run = lambda count: _pulse(
      jax.random.key(0), pcm.PCMParams(), _state(5.0), count).g_uS
  count = jnp.array([0.0, 1.0, 4.0])
  value, pullback = jax.vjp(run, count)
  _assert_same(value, run(count))
  slope = pullback(jnp.ones(3))[0]
  assert np.all(np.isfinite(slope)) and slope[0] > 0
  np.testing.assert_allclose(slope[0], 0.88 - 0.084 * 5, rtol=1e-4)


@hypothesis.given(seed=SEED, g=st.floats(2.0, 9.0, width=32))
def test_gradient_of_a_train_to_the_state_is_a_finite_difference(seed, g):
  # With the draws held, the train is affine in the conductance.
  run = lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), FREE, _state(1.0)._replace(g_uS=g_uS),
      jnp.full(3, 3.0), max_pulses=3).g_uS)
  start = jnp.full(3, g)
  slope = jax.grad(run)(start)
  assert np.all(np.isfinite(slope))
  difference = run(start + 0.5) - run(start - 0.5)
  np.testing.assert_allclose(np.sum(slope), difference, rtol=1e-3, atol=1e-3)
  quiet = jax.grad(lambda g_uS: jnp.sum(_pulse(
      jax.random.key(seed), QUIET, _state(1.0)._replace(g_uS=g_uS),
      jnp.full(3, 3.0), max_pulses=3).g_uS))(start)
  np.testing.assert_allclose(quiet, np.full(3, 0.916**3), rtol=1e-5)


def test_a_state_clipped_by_the_last_pulse_passes_no_gradient():
  params = QUIET._replace(g_max_uS=6.0)
  start = jnp.array([5.9, 5.0, 2.0])
  slope = jax.grad(lambda g_uS: jnp.sum(_pulse(
      jax.random.key(0), params, _state(1.0, 1.0)._replace(g_uS=g_uS),
      jnp.ones(3)).g_uS))(start)
  np.testing.assert_allclose(slope, [0.0, 0.0, 0.916], rtol=1e-5)


def test_programming_differentiates_to_its_target():
  target = jnp.array([1.0, 6.0, 11.0])
  quiet = jax.grad(lambda target: jnp.sum(_program(
      jax.random.key(0), QUIET, target).g_uS))(target)
  np.testing.assert_allclose(quiet, np.ones(3))
  run = lambda target: jnp.sum(_program(
      jax.random.key(0), FREE, target).g_uS)
  difference = (run(target + 0.05) - run(target - 0.05)) / 0.1
  np.testing.assert_allclose(
      np.sum(jax.grad(run)(target)), difference, rtol=1e-3)


def test_gradient_of_a_read_to_the_state_is_a_finite_difference():
  def run(g_uS, nu):
    state = _state(1.0)._replace(g_uS=g_uS, nu=nu)
    return jnp.sum(_read(jax.random.key(0), pcm.PCMParams(), state, 1e4))

  g_uS, nu = jnp.array([0.1, 5.0, 12.0]), jnp.array([0.01, 0.04, 0.08])
  to_g, to_nu = jax.grad(run, (0, 1))(g_uS, nu)
  difference = (run(g_uS + 0.05, nu) - run(g_uS - 0.05, nu)) / 0.1
  np.testing.assert_allclose(np.sum(to_g), difference, rtol=1e-3)
  difference = (run(g_uS, nu + 2e-3) - run(g_uS, nu - 2e-3)) / 4e-3
  np.testing.assert_allclose(np.sum(to_nu), difference, rtol=1e-3)
  assert np.all(to_nu < 0)


def test_reset_passes_no_gradient_to_the_erased_state():
  mask = jnp.array([True, False, True])
  slope = jax.grad(lambda g_uS: jnp.sum(_reset(
      jax.random.key(0), pcm.PCMParams(), _state(1.0)._replace(g_uS=g_uS),
      mask).g_uS))(jnp.full(3, 5.0))
  np.testing.assert_array_equal(slope, [0, 1, 0])
