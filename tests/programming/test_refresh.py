"""Tests of refresh: who is RESET, what is kept, what may be known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import refresh
from tests.helpers import small_networks as small

SHAPE = (2, 2, 4, 3)  # P, D, I, O
GAIN = 0.3
# From programming to the write, and from there to the time of predictions.
AGE_S, HORIZON_S = jnp.float32(100.0), jnp.float32(51.0)
RULE, READY = refresh.Threshold(), refresh.UpdateReady()

by_threshold = jax.jit(
    refresh.by_threshold, static_argnums=(1, 2),
    static_argnames=('num_levels',))
by_update_ready = jax.jit(refresh.by_update_ready, static_argnums=(1, 2))


def some_uS(seed):
  return jax.random.uniform(
      jax.random.key(seed), SHAPE, minval=4.0, maxval=11.9)


@functools.cache
def programmed(noise_scale=0.0, seed=0):
  """Returns (device, noise_free) and a crossbar whose pairs are often full."""
  pair = small.pcm_pair(pcm.PCMParams(noise_scale=noise_scale))
  crossbar = array.program(jax.random.key(seed), *pair, some_uS(1), GAIN)
  return pair, array.advance(*pair, crossbar, AGE_S)


def refreshed(known_uS=None, noise_scale=0.0, seed=0):
  pair, crossbar = programmed(noise_scale, seed)
  if known_uS is None:
    known_uS = controller.estimated_uS(pair[1], crossbar, 0.0)
  new, info = by_threshold(
      jax.random.key(2), *pair, crossbar, known_uS, RULE, HORIZON_S,
      num_levels=14)
  return crossbar, known_uS, new, info


def weights(crossbar, horizon_s=HORIZON_S):
  device = small.pcm_pair(pcm.PCMParams(noise_scale=0.0))[0]
  return np.asarray(controller.difference(
      device.read_stats(crossbar.devices, horizon_s)[0]))


def test_the_threshold_rule_equals_the_loop():
  _, known_uS, _, info = refreshed()
  known_uS, chosen = np.asarray(known_uS), np.asarray(info['refreshed'])
  assert chosen.any() and not chosen.all()
  for i, o in np.ndindex(chosen.shape):
    plus, minus = known_uS[:, :, i, o].mean(axis=1)
    expected = (plus > 9.0 or minus > 9.0) and abs(plus - minus) < 4.5
    assert chosen[i, o] == expected


def test_drift_restarts_where_a_pair_was_refreshed():
  before, _, new, info = refreshed()
  chosen = np.broadcast_to(info['refreshed'], SHAPE)
  for state in (new.devices, new.estimate):
    np.testing.assert_array_equal(
        state.age_s, np.where(chosen, 0.0, AGE_S))
  np.testing.assert_array_equal(new.usage.num_resets, chosen)
  np.testing.assert_array_equal(
      np.asarray(new.devices.g_uS)[~chosen],
      np.asarray(before.devices.g_uS)[~chosen])


def test_refresh_keeps_the_difference_and_makes_room():
  before, _, new, info = refreshed()
  chosen = np.asarray(info['refreshed'])
  # A pulse adds at most m1 g + c1 + A1 exp(-1 / a) at the lowest state.
  half_step_uS = 0.5 * (0.88 + 1.4 * np.exp(-1 / 2.6)) * 1.01
  error_uS = (weights(new) - weights(before))[chosen]
  assert np.all(np.abs(error_uS) < half_step_uS)
  assert np.std(weights(before)[chosen]) > half_step_uS
  top_uS = np.max(np.mean(new.devices.g_uS, axis=1), axis=0)
  assert np.all(top_uS[chosen] < 6.0)


def test_the_difference_that_is_kept_is_that_after_drift():
  # Until then conductances fall by a third.
  (pair, crossbar), horizon_s = programmed(), jnp.float32(1e7)
  new, info = by_threshold(
      jax.random.key(2), *pair, crossbar,
      controller.estimated_uS(pair[1], crossbar, 0.0), RULE, horizon_s,
      num_levels=14)
  chosen = np.asarray(info['refreshed'])
  before_uS = weights(crossbar, horizon_s)[chosen]
  error_uS = weights(new, horizon_s)[chosen] - before_uS
  half_step_uS = 0.5 * 1.83 * (1e7 / 38.6) ** -0.04
  assert np.all(np.abs(error_uS) < 1.01 * half_step_uS)
  assert 0.3 * np.max(np.abs(before_uS)) > half_step_uS


def test_pulses_of_a_refresh_are_counted_in_the_right_places():
  _, _, new, info = refreshed()
  n = np.asarray(info['num_pulses'])
  assert not n[~np.asarray(info['refreshed'])].any()
  for state in (new.devices, new.estimate, new.usage):
    given = np.sum(state.num_pulses, axis=1)
    np.testing.assert_array_equal(given[0], np.maximum(n, 0))
    np.testing.assert_array_equal(given[1], np.maximum(-n, 0))


def test_refresh_does_not_see_the_true_state():
  known_uS = some_uS(5)
  first, _, _, one = refreshed(known_uS, noise_scale=1.0, seed=3)
  second, _, _, two = refreshed(known_uS, noise_scale=1.0, seed=4)
  assert np.mean(first.devices.g_uS != second.devices.g_uS) > 0.7
  assert np.any(one['refreshed'])
  for name in one:
    np.testing.assert_array_equal(one[name], two[name])


def made_ready(seed=0, noise_scale=0.0, known_uS=None):
  pair, crossbar = programmed(noise_scale, seed)
  if known_uS is None:
    known_uS = controller.estimated_uS(pair[1], crossbar, 0.0)
  delta_w = GAIN * jax.random.uniform(
      jax.random.key(3), SHAPE[2:], minval=-8.0, maxval=8.0)
  new, aimed, info = by_update_ready(
      jax.random.key(2), *pair, crossbar, known_uS, delta_w, READY,
      HORIZON_S)
  return crossbar, known_uS, delta_w, new, np.asarray(aimed), info


def test_the_update_ready_rule_equals_the_loop():
  _, known_uS, delta_w, new, aimed, info = made_ready()
  known_uS, delta_w = np.asarray(known_uS), np.asarray(delta_w)
  chosen = np.asarray(info['refreshed'])
  assert chosen.any(axis=(1, 2)).all() and not chosen.any(axis=0).all()
  for i, o in np.ndindex(delta_w.shape):
    side = 0 if delta_w[i, o] > 0 else 1
    room_uS = 2 * (10.0 - known_uS[side, :, i, o].mean())
    lacks = abs(delta_w[i, o]) / GAIN > room_uS
    assert chosen[1 - side, i, o] == lacks and not chosen[side, i, o]
    assert lacks or aimed[i, o] == delta_w[i, o]
  mask = np.broadcast_to(chosen[:, None], SHAPE)
  np.testing.assert_array_equal(new.usage.num_resets, mask)
  np.testing.assert_array_equal(
      new.devices.age_s, np.where(mask, 0.0, AGE_S))


def test_what_is_aimed_at_stays_where_it_was():
  before, _, delta_w, new, aimed, _ = made_ready()
  np.testing.assert_allclose(
      weights(new) + aimed / GAIN, weights(before) + delta_w / GAIN, atol=1e-3)


def test_the_update_ready_rule_does_not_see_the_true_state():
  known_uS = some_uS(5)
  results = [made_ready(seed, 1.0, known_uS) for seed in (3, 4)]
  first, second = (crossbar.devices.g_uS for crossbar, *_ in results)
  assert np.mean(first != second) > 0.7
  np.testing.assert_array_equal(results[0][4], results[1][4])
  np.testing.assert_array_equal(
      results[0][5]['refreshed'], results[1][5]['refreshed'])


@pytest.mark.parametrize('num_reads', [1, 4, 64])
@pytest.mark.parametrize('fresh_share', [0.0, 0.65, 1.0])
def test_the_mean_of_reads_keeps_the_variance_that_is_frozen(
    num_reads, fresh_share):
  device = small.pcm_pair()[0]
  crossbar = array.program(
      jax.random.key(7), *small.pcm_pair(), jnp.full((2, 1, 32, 64), 6.0),
      GAIN)  # 4096 devices: 6 standard errors are 7 %
  mean_uS, sigma_uS = device.read_stats(crossbar.devices, 0.0)
  read_uS, _ = controller.measure(
      jax.random.key(num_reads), device, crossbar, num_reads, fresh_share)
  error = (read_uS - mean_uS) / sigma_uS
  expected = np.sqrt((1.0 - fresh_share) + fresh_share / num_reads)
  np.testing.assert_allclose(np.std(error), expected, rtol=0.07)
  assert abs(np.mean(error)) < 6.0 * expected / np.sqrt(4096)


def test_known_drift_is_the_mean_law():
  pair, crossbar = programmed(1.0, 7)
  factor = controller.known_drift(pair[1], crossbar, HORIZON_S)
  np.testing.assert_allclose(factor, 1.51 ** -0.04, rtol=1e-4)


@pytest.mark.parametrize('field', ['level_uS', 'difference_uS', 'ceiling_uS'])
@pytest.mark.parametrize('value', [0.0, -1.0, 13.0, float('nan')])
def test_levels_outside_the_range_are_refused(field, value):
  values = {'level_uS': 9.0, 'difference_uS': 4.5, 'ceiling_uS': 10.0}
  refresh.check(**values, g_max_uS=12.0)
  with pytest.raises(ValueError, match=rf'{field} = .*at most g_max_uS \(12'):
    refresh.check(**{**values, field: value}, g_max_uS=12.0)
