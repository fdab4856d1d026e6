"""Stuck devices: any technology, wrapped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import pcm
from meta_analog.devices import stuck

LOW, HIGH = 0.1, 12.0


def make(fraction, high_share=0.25):
  return stuck.make(pcm.make(max_pulses=3), fraction=fraction,
                    high_share=high_share, low_uS=LOW, high_uS=HIGH)


def program(device, seed=0, shape=(4096,)):
  return device.program(jax.random.key(seed), jnp.full(shape, 5.0))


def test_the_share_of_stuck_and_of_shorted_devices_is_that_asked_for():
  # 4096 devices: 6 errors of a share of 0.3 are 0.043.
  state = program(make(0.3))
  stuck_share = np.mean(state.stuck)
  assert abs(stuck_share - 0.3) < 6 * np.sqrt(0.3 * 0.7 / 4096)
  high = np.mean(np.asarray(state.g_uS)[np.asarray(state.stuck)] == HIGH)
  assert abs(high - 0.25) < 6 * np.sqrt(0.25 * 0.75 / (0.3 * 4096))


def test_other_devices_are_those_of_the_technology():
  device = make(0.3)
  state = program(device)
  healthy = pcm.make(max_pulses=3)
  key = jax.random.key(5)
  mean, sigma = device.read_stats(state, 100.0)
  free = ~np.asarray(state.stuck)
  expected = healthy.read_stats(state.healthy, 100.0)
  np.testing.assert_array_equal(mean[free], expected[0][free])
  np.testing.assert_array_equal(sigma[free], expected[1][free])
  np.testing.assert_array_equal(
      device.read(key, state, 100.0)[free],
      healthy.read(jax.random.clone(key), state.healthy, 100.0)[free])


@pytest.mark.parametrize('time_s', [1.0, 1e6])
def test_a_stuck_device_reads_the_same_whatever_is_done_to_it(time_s):
  device = make(1.0)
  state = program(device, shape=(64,))
  state = device.pulse(jax.random.key(1), state, jnp.full(64, 3.0))
  state = device.reset(jax.random.key(2), state, jnp.ones(64, bool))
  g_uS = device.read(jax.random.key(3), state, time_s)
  np.testing.assert_array_equal(g_uS, state.stuck_uS)
  np.testing.assert_array_equal(state.g_uS, state.stuck_uS)
  assert set(np.unique(g_uS)) == {np.float32(LOW), np.float32(HIGH)}
  assert not np.any(device.read_stats(state, time_s)[1])


def test_devices_that_are_not_stuck_age():
  device = make(0.3)
  state = program(device)
  aged = device.advance(state, 1e6)
  for a, b in zip(device.read_stats(aged, 1.0),
                  device.read_stats(state, 1e6 + 1.0)):
    np.testing.assert_array_equal(a, b)
  moved = np.asarray(device.read_stats(aged, 1.0)[0]) != (
      device.read_stats(state, 1.0)[0])
  np.testing.assert_array_equal(moved, ~np.asarray(state.stuck))


def test_full_yield_is_the_technology_itself():
  state = program(make(0.0))
  assert not np.any(state.stuck)
  np.testing.assert_array_equal(state.g_uS, state.healthy.g_uS)


def test_chips_have_different_stuck_devices():
  first, second = (program(make(0.5), seed).stuck for seed in (0, 1))
  agree = np.mean(np.asarray(first) == np.asarray(second))
  assert abs(agree - 0.5) < 6 * 0.5 / np.sqrt(4096)
