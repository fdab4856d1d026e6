"""SET of phase-change memory: its oracle and its moments."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm
from tests.helpers import pcm_devices
from tests.oracles import device as oracle

MAX_PULSES = pcm_devices.MAX_PULSES
QUIET = pcm_devices.QUIET
FREE = pcm_devices.FREE
_pulse = pcm_devices.pulse
_read = pcm_devices.read
_state = pcm_devices.state
_fresh = pcm_devices.fresh
_assert_same = pcm_devices.assert_same
SIZE = 65536  # catches 1 % of a mean step and 3 % of its std
SEED = st.integers(0, 2**31 - 1)
G = st.floats(0.125, 12.0, width=32)
P = st.floats(0.0, 1.0, width=32)


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
    expected, _ = oracle.set_train(
        g, memory, [float(d[device]) for d in draws], noise=noise, step=step)
    np.testing.assert_allclose(
        [g_uS[device] for g_uS in path], expected, rtol=1e-3, atol=1e-3)


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


@functools.partial(jax.jit, static_argnames='num_pulses')
def _paths(key, params, state, num_pulses):
  """Returns the conductance after each of num_pulses calls with one SET."""
  device = pcm.make(params, max_pulses=1)

  def body(state, key):
    state = device.pulse(key, state, jnp.ones_like(state.g_uS))
    return state, state.g_uS

  return jax.lax.scan(body, state, jax.random.split(key, num_pulses))[1]


# SET: moments


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
  for g_max, expected in table.items():
    exact = oracle.clipped_moments(20, g_max)[rows]
    np.testing.assert_allclose(exact, expected, atol=0.04)
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
def test_one_step_has_the_stated_mean_and_std(g, memory):
  # 65536 devices: 6 errors are 1.7 % of the std.
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
