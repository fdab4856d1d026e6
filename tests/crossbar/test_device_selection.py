"""Selection of the next device: oracle loop, laws, usage, estimate."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import device_selection
from meta_analog.devices import pcm
from meta_analog.programming import pulse_response
from tests.helpers import small_networks as small
from tests.oracles import device_selection as oracles

SHAPE = (3, 2)  # I, O
seeds = st.integers(0, 2**31 - 1)
devices_per_polarity = pytest.mark.parametrize('num_devices', [1, 2, 3])

write = jax.jit(array.pulse, static_argnums=(1, 2))
reset = jax.jit(array.reset_devices, static_argnums=(1, 2))
table = jax.jit(pulse_response.table, static_argnums=(0, 2))
per_device = jax.jit(device_selection.pulses_per_device, static_argnums=1)


def counts_of(seed, num_events, top=7):
  """Returns signed whole numbers [E, I, O]."""
  n = np.random.default_rng(seed).integers(-top, top, (num_events, *SHAPE))
  return n.astype(np.float32)


def program(pair, num_devices, target_uS=4.0):
  targets = jnp.full((2, num_devices, *SHAPE), target_uS)
  return array.program(jax.random.key(0), *pair, targets, 0.3)


def deal(events, num_devices):
  """Returns the counts [P, D, I, O] that whole events give, and counters."""
  counter = jnp.zeros((2, *SHAPE))
  total = 0.0
  for n in events:
    pulses = per_device(n, num_devices, counter)
    counter, total = device_selection.advance(counter, pulses), total + pulses
  return np.asarray(total), np.asarray(counter)


# Laws of the turn.


@devices_per_polarity
@hypothesis.given(seed=seeds, num_events=st.integers(1, 5))
def test_turns_equal_the_students_loop(num_devices, seed, num_events):
  events = counts_of(seed, num_events)
  total, counter = deal(events, num_devices)
  expected, turn = oracles.deal(events, num_devices)
  np.testing.assert_array_equal(total, expected)
  np.testing.assert_array_equal(counter, turn)


@devices_per_polarity
@hypothesis.given(seed=seeds)
def test_no_pulse_is_lost_and_shares_stay_even(num_devices, seed):
  events = counts_of(seed, 4)
  total, _ = deal(events, num_devices)
  np.testing.assert_array_equal(
      total[0].sum(axis=0), np.maximum(events, 0).sum(axis=0))
  np.testing.assert_array_equal(
      total[1].sum(axis=0), np.maximum(-events, 0).sum(axis=0))
  assert np.all(total.max(axis=1) - total.min(axis=1) <= 1)
  assert np.all(total == np.round(total)) and np.all(total >= 0)


@devices_per_polarity
@hypothesis.given(seed=seeds)
def test_many_events_deal_as_one_long_train(num_devices, seed):
  events = np.abs(counts_of(seed, 4))
  whole, last = deal(events.sum(axis=0)[None], num_devices)
  parts, turn = deal(events, num_devices)
  np.testing.assert_array_equal(parts, whole)
  np.testing.assert_array_equal(turn, last)


def test_the_second_event_goes_on_with_the_next_device():
  counter = jnp.zeros((2, 1, 1))
  order = []
  for _ in range(5):
    pulses = device_selection.pulses_per_device(jnp.ones((1, 1)), 3, counter)
    counter = device_selection.advance(counter, pulses)
    order.append(int(np.argmax(pulses[0, :, 0, 0])))
  assert order == [0, 1, 2, 0, 1]


@devices_per_polarity
@pytest.mark.parametrize('n', [-3.0, -1.0, 0.0, 2.0])
@pytest.mark.parametrize('turn', [0.0, 1.0])
def test_one_more_pulse_moves_the_pair_by_one(num_devices, n, turn):
  def difference(n):
    counts = device_selection.pulses_per_device(
        jnp.full((1, 1), n), num_devices,
        jnp.full((2, 1, 1), min(turn, num_devices - 1)))
    return jnp.sum(counts[0]) - jnp.sum(counts[1])

  np.testing.assert_allclose(jax.grad(difference)(n), 1.0, rtol=1e-6)


def test_the_gradient_is_shared_by_the_devices_of_a_polarity():
  jacobian = jax.jacobian(lambda n: device_selection.pulses_per_device(
      jnp.full((1, 1), n), 4, jnp.ones((2, 1, 1))))(2.0)[:, :, 0, 0]
  np.testing.assert_allclose(jacobian, [[0.25] * 4, [0.0] * 4])


# The crossbar.


@functools.cache
def _events(num_devices):
  """Returns a noise-free crossbar after three events, and their counts."""
  params = pcm.PCMParams(noise_scale=0.0)
  pair = small.pcm_pair(params)
  crossbar, events = program(pair, num_devices), counts_of(3, 3, top=5)
  for i, n in enumerate(events):
    crossbar = write(jax.random.key(i), *pair, crossbar, n)
  return crossbar, events


@devices_per_polarity
def test_crossbar_deals_over_events_and_keeps_the_usage(num_devices):
  crossbar, events = _events(num_devices)
  expected, turn = oracles.deal(events, num_devices)
  np.testing.assert_array_equal(crossbar.devices.num_pulses, expected)
  np.testing.assert_array_equal(crossbar.usage.num_pulses, expected)
  np.testing.assert_array_equal(crossbar.counter, turn)
  assert not crossbar.usage.num_resets.any()


@devices_per_polarity
def test_estimate_equals_the_noise_free_device(num_devices):
  crossbar, _ = _events(num_devices)
  for actual, estimate in zip(crossbar.devices, crossbar.estimate, strict=True):
    np.testing.assert_allclose(actual, estimate, rtol=1e-6)


def test_usage_outlives_a_reset():
  pair = small.pcm_pair()
  crossbar = program(pair, 2)
  n = jnp.full(SHAPE, 3.0)
  crossbar = write(jax.random.key(1), *pair, crossbar, n)
  mask = jnp.zeros((2, 2, *SHAPE), bool).at[0, 0].set(True)
  crossbar = reset(jax.random.key(2), *pair, crossbar, mask)
  crossbar = write(jax.random.key(3), *pair, crossbar, n)
  for state in (crossbar.devices, crossbar.estimate):
    np.testing.assert_array_equal(state.num_pulses[0, 0], 1.0)
    np.testing.assert_array_equal(state.num_pulses[0, 1], 3.0)
  np.testing.assert_array_equal(crossbar.usage.num_pulses[0], 3.0)
  np.testing.assert_array_equal(crossbar.usage.num_pulses[1], 0.0)
  np.testing.assert_array_equal(crossbar.usage.num_resets, mask)


@devices_per_polarity
def test_table_tells_what_the_estimate_does_after_earlier_events(num_devices):
  # The devices differ, so a table that always began with device 0 would lie.
  pair = small.pcm_pair()
  shape = (2, num_devices, *SHAPE)
  targets = 1.0 + jnp.arange(np.prod(shape)).reshape(shape) / 8.0
  crossbar = array.program(
      jax.random.key(0), *pair, targets, 0.3)
  crossbar = write(jax.random.key(1), *pair, crossbar,
                   jnp.ones(SHAPE))
  horizon_s = jnp.float32(51.0)
  response = table(pair[1], crossbar, 3, horizon_s)
  estimated = lambda c: array.weights_from_targets(
      pair[1].read_stats(c.estimate, horizon_s)[0], 0.3)
  for n in (-2.0, 1.0, 3.0):
    new = write(jax.random.key(2), *pair, crossbar, jnp.full(SHAPE, n))
    step = np.sign(n) * response[int(n < 0), int(abs(n))]
    np.testing.assert_allclose(
        estimated(new) - estimated(crossbar), step, rtol=1e-3, atol=1e-4)
