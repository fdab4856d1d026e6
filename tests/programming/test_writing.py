"""Writing a requested change: open loop, verified, after a refresh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response
from meta_analog.programming import refresh
from meta_analog.programming import verify_options
from meta_analog.programming import writing
from tests.helpers import small_networks as small

SHAPE, NUM_DEVICES, NUM_LEVELS = (16, 4), 2, 7
# From programming to the write, and from there to the time of predictions.
AGE_S, HORIZON_S = jnp.float32(101.0), jnp.float32(50.0)
GAIN = jnp.float32(0.5)
OPTIONS = verify_options.VerifyOptions(
    max_rounds=30, max_resets=0, num_reads=64, tolerance_uS=0.5, delay_s=1.0,
    fresh_share=1.0)
PAIR = small.pcm_pair()


@functools.cache
@jax.jit
def program(seed=0):
  targets_uS = mapping.targets_from_parameters(
      0.3 * jax.random.normal(jax.random.key(seed), SHAPE), 10.0, 0.1,
      NUM_DEVICES)
  crossbar = array.program(jax.random.key(seed + 1), *PAIR, targets_uS, GAIN)
  return array.advance(*PAIR, crossbar, AGE_S)


def request(delta_w, horizon_s=HORIZON_S):
  def encode_fn(crossbar, delta_w):
    response = pulse_response.table(
        PAIR[1], crossbar, NUM_LEVELS, horizon_s)
    return (pulse_response.nearest_level(delta_w, response[0], 0.5)
            - pulse_response.nearest_level(-delta_w, response[1], 0.5))

  return protocols.Request(delta_w, encode_fn, horizon_s)


@functools.cache
def jitted(name):
  write_fn = {
      'open': writing.open_loop(),
      'verified': writing.verified(OPTIONS, bidirectional=False),
      'threshold': writing.open_loop(writing.threshold_refresh(
          refresh.Threshold(2.0, 20.0), num_reads=4, fresh_share=0.65,
          num_levels=NUM_LEVELS)),
      'update_ready': writing.open_loop(writing.update_ready_refresh(
          refresh.UpdateReady(2.0), num_reads=4, fresh_share=0.65,
          num_levels=NUM_LEVELS)),
      'verified_threshold': writing.verified(
          OPTIONS, writing.threshold_refresh(
              refresh.Threshold(2.0, 20.0), num_reads=64, fresh_share=1.0,
              num_levels=1), bidirectional=False),
  }[name]
  return jax.jit(lambda key, crossbar, delta_w: write_fn(
      key, *PAIR, crossbar, request(delta_w)))


def truth_uS(crossbar, elapsed_s=0.0, horizon_s=HORIZON_S):
  """Returns the differences that a perfect reader would see, [I, O].

  Args:
    crossbar: state.
    elapsed_s: since the start of the write.
    horizon_s: from there to the time of predictions.
  """
  return np.asarray(_difference_uS(crossbar.devices, horizon_s - elapsed_s))


@jax.jit
def _difference_uS(devices, horizon_s):
  return controller.difference(PAIR[0].read_stats(devices, horizon_s)[0])


def requested_w():
  """Returns changes of up to 4 uS on half of the pairs."""
  change = jax.random.uniform(
      jax.random.key(9), SHAPE, minval=-4.0, maxval=4.0)
  return GAIN * jnp.where(jnp.arange(16)[:, None] % 2 == 0, change, 0.0)


def test_verification_comes_nearer_than_blind_pulses():
  crossbar, delta_w = program(), requested_w()
  goal = truth_uS(crossbar) + np.asarray(delta_w / GAIN)
  errors = {}
  for name in ('open', 'verified'):
    new, _, elapsed_s = jitted(name)(jax.random.key(3), crossbar, delta_w)
    error_uS = truth_uS(new, elapsed_s) - goal
    errors[name] = np.sqrt(np.mean(error_uS[::2] ** 2))
  assert errors['verified'] < 0.7 * errors['open']


def test_a_verified_write_aims_at_the_difference_after_drift():
  # Until then old devices fall by a third: 0.37 of up to 20 uS.
  crossbar, horizon_s = program(), jnp.float32(1e7)
  delta_w = GAIN * jnp.full(SHAPE, 2.0)
  new, _, elapsed_s = jax.jit(lambda key: writing.verified(
      OPTIONS, bidirectional=False)(
          key, *PAIR, crossbar, request(delta_w, horizon_s)))(
              jax.random.key(3))
  before_uS = truth_uS(crossbar, 0.0, horizon_s)
  error_uS = truth_uS(new, elapsed_s, horizon_s) - before_uS - 2.0
  touched = np.asarray(new.usage.num_pulses).any(axis=(0, 1))
  slope = np.polyfit(before_uS[touched], error_uS[touched], 1)[0]
  assert touched.mean() > 0.8 and np.std(before_uS) > 2.0
  assert abs(slope) < 0.2


@pytest.mark.parametrize('name', ['open', 'verified'])
def test_what_needs_no_change_is_not_touched(name):
  crossbar = program()
  new, counts, elapsed_s = jitted(name)(
      jax.random.key(3), crossbar, requested_w())
  before = jax.jit(PAIR[0].advance)(crossbar.devices, elapsed_s)
  after = new.devices
  for name in before._fields:
    np.testing.assert_allclose(
        getattr(after, name)[:, :, 1::2], getattr(before, name)[:, :, 1::2],
        rtol=1e-5 if name == 'age_s' else 0.0)
  assert counts.resets == 0 and counts.pulses > 0


@pytest.mark.parametrize('name', ['open', 'verified', 'threshold',
                                  'update_ready'])
def test_counts_are_the_usage_of_the_devices(name):
  crossbar = program()
  crossbar = crossbar._replace(usage=jax.tree.map(
      lambda x: x + 5.0, crossbar.usage))  # of an earlier life
  new, counts, _ = jitted(name)(jax.random.key(3), crossbar, requested_w())
  pulses, resets = (np.asarray(b - a) for a, b in zip(
      crossbar.usage, new.usage))
  assert counts.pulses == pulses.sum() and counts.resets == resets.sum()
  assert counts.devices == np.sum((pulses > 0) | (resets > 0))
  if name in ('threshold', 'update_ready'):
    assert counts.resets > 0
    assert counts.reads == 4 * pulses.size
  if name == 'open':
    assert counts.reads == 0
  if name == 'verified':
    # Before the first pulse every touched pair is read twice, then after each;
    # most of the 32 pairs of which a change is requested are touched.
    in_pair = pulses.sum(axis=(0, 1))
    touched = np.sum(in_pair > 0)
    assert counts.reads >= (
        OPTIONS.num_reads * 2 * NUM_DEVICES * (2 * touched + in_pair.sum()))
    assert counts.reads <= (
        OPTIONS.num_reads * 2 * NUM_DEVICES * (2 * 32 + in_pair.sum()))


def test_a_change_of_zero_writes_nothing():
  for name in ('open', 'verified'):
    new, counts, _ = jitted(name)(
        jax.random.key(3), program(), jnp.zeros(SHAPE))
    assert counts.pulses == 0 and counts.devices == 0 and counts.reads == 0
    np.testing.assert_array_equal(new.estimate.g_uS, program().estimate.g_uS)
    np.testing.assert_array_equal(new.devices.g_uS, program().devices.g_uS)


def test_a_verified_write_mends_what_a_refresh_wrote_amiss():
  # One pulse writes a refreshed pair anew: most of its weight is gone.
  crossbar = program()
  new, counts, elapsed_s = jitted('verified_threshold')(
      jax.random.key(3), crossbar, jnp.zeros(SHAPE))
  before, after = truth_uS(crossbar), truth_uS(new, elapsed_s)
  chosen = np.asarray(new.usage.num_resets).any(axis=(0, 1))
  assert counts.resets > 0 and np.std(before[chosen]) > 2.0
  assert np.std((after - before)[chosen]) < 0.4 * np.std(before[chosen])
  same = ~chosen
  np.testing.assert_array_equal(
      crossbar.estimate.g_uS[..., same], new.estimate.g_uS[..., same])


def test_refreshed_pairs_get_more_pulses_than_the_rule_has():
  # The rule gives none at all; what is RESET would be lost.
  noise_free, crossbar = small.pcm_pair(max_pulses=20)[1], program()
  refresh_fn = writing.update_ready_refresh(
      refresh.UpdateReady(2.0), num_reads=64, fresh_share=1.0, num_levels=40)
  none = request(requested_w())._replace(encode_fn=lambda crossbar, w: 0.0 * w)
  quiet = crossbar._replace(devices=crossbar.estimate)
  new = jax.jit(lambda key: writing.open_loop(refresh_fn)(
      key, noise_free, noise_free, quiet, none))(jax.random.key(3)).crossbar
  chosen = np.asarray(new.usage.num_resets).any(axis=(0, 1))
  error_uS = (truth_uS(new) - truth_uS(quiet)
              - np.asarray(requested_w() / GAIN))[chosen]
  assert chosen.sum() > 5 and np.max(new.usage.num_pulses.sum(axis=1)) > 7
  # The nearest of mean steps, the largest of which is 1.83 uS.
  assert np.sqrt(np.mean(error_uS ** 2)) < 0.93


def test_a_verified_write_is_differentiated_as_the_open_loop():
  # Without noise both trains have the same mean steps, so the same gradient.
  noise_free, crossbar = PAIR[1], program()

  def stored(delta_w, write_fn):
    written = write_fn(jax.random.key(3), noise_free, noise_free, crossbar,
                       request(delta_w))
    return jnp.sum(written.crossbar.devices.g_uS[0])

  slopes = [
      jax.jit(jax.grad(stored), static_argnums=1)(requested_w(), write_fn)
      for write_fn in (writing.open_loop(),
                       writing.verified(OPTIONS, bidirectional=False))]
  assert np.any(slopes[0] != 0)
  np.testing.assert_allclose(*slopes, rtol=1e-5)


def test_a_chip_can_be_programmed_from_reset_by_pulses_and_reads():
  options = verify_options.VerifyOptions(delay_s=0.25)
  program_fn = initial_programming.verified_program(options,
                                                    40.0,
                                                    bidirectional=False)
  targets_uS = mapping.targets_from_parameters(
      jax.random.normal(jax.random.key(0), SHAPE), 10.0, 0.1, NUM_DEVICES)
  crossbar, counts = jax.jit(lambda key, targets_uS: program_fn(
      key, *PAIR, targets_uS, GAIN))(jax.random.key(1), targets_uS)
  assert np.all(crossbar.usage.num_resets >= 1)
  assert counts.resets == np.sum(crossbar.usage.num_resets)
  assert counts.pulses == np.sum(crossbar.usage.num_pulses)
  longest_s = verify_options.longest_s(options)
  assert np.all((crossbar.devices.age_s >= 0)
                & (crossbar.devices.age_s <= longest_s))
  assert np.max(crossbar.devices.age_s) > 0.9 * longest_s  # of an early latch
  found = _difference_uS(crossbar.devices, 40.0)
  error = np.asarray(found - controller.difference(targets_uS))
  # The tolerance, and by how much the exponents differ until 40 s.
  assert np.median(np.abs(error)) < 2 * options.tolerance_uS
  assert np.std(error) > 0
