"""Program-and-verify: what is reached, and what is counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify
from tests.helpers import small_arrays

SHAPE = small_arrays.SHAPE
HORIZON_S = small_arrays.HORIZON_S
OPTIONS = small_arrays.OPTIONS
EXACT = small_arrays.EXACT
TARGET_uS = small_arrays.TARGET_uS
pair_of = small_arrays.pair_of
blank = small_arrays.blank
_true_error = small_arrays.true_error
rms = small_arrays.rms


@jax.jit
def _verify(key, params, options):
  """Compiled once: the parameters of the device are traced too."""
  pair = pair_of(params)
  keys = jax.random.split(key)
  crossbar = initial_programming.blank(keys[0], *pair, SHAPE, 0.3)
  target = program_verify.pairs(TARGET_uS, bidirectional=False)
  new, info = program_verify.program_and_verify(
      keys[1], *pair, crossbar, target, options, HORIZON_S)
  return new, info, _true_error(params, new, info['elapsed_s'])


@functools.cache
def verified(params=pcm.PCMParams(), options=OPTIONS, seed=0):
  return jax.tree.map(np.asarray, _verify(
      jax.random.key(seed), params, options))


# What is reached.


def test_exact_reads_end_within_tolerance():
  _, info, error_uS = verified(EXACT)
  assert info['converged'] > 0.98
  assert np.all(np.abs(error_uS)[info['finished']] <= 0.3 + 1e-3)
  np.testing.assert_allclose(
      error_uS[info['finished']], info['residual_uS'][info['finished']],
      atol=1e-3)


def test_without_noise_the_residual_is_within_a_step():
  _, info, error_uS = verified(EXACT._replace(noise_scale=0.0))
  # Half of the largest mean step would be a round to the nearest.
  assert np.all(np.abs(error_uS) < 1.84)
  assert np.all(np.abs(error_uS)[info['finished']] <= 0.3 + 1e-3)


def test_noisier_reads_leave_a_larger_residual():
  errors = [rms(verified(EXACT._replace(c3_uS=c3_uS))[2])
            for c3_uS in (0.0, 1.0, 2.0)]
  assert errors[0] < 0.9 * errors[1] < 0.81 * errors[2]


def test_more_reads_leave_a_smaller_residual():
  noisy = EXACT._replace(c3_uS=1.0)
  error = lambda num_reads, fresh_share: rms(verified(noisy, OPTIONS._replace(
      num_reads=num_reads, fresh_share=fresh_share))[2])
  assert error(64, 1.0) < 0.7 * error(2, 1.0)
  # What is frozen during one check, no number of its reads averages out.
  assert error(64, 0.65) > 1.2 * error(64, 1.0)


def test_spread_exponents_set_the_floor_that_reads_cannot_see():
  narrow, wide = (verified(EXACT._replace(nu_std=nu_std))
                  for nu_std in (0.0, 0.02))
  assert rms(wide[2]) > 1.5 * rms(narrow[2])
  assert rms(wide[1]['residual_uS']) < 1.3 * rms(narrow[1]['residual_uS'])


def test_known_drift_is_corrected_in_whole_or_not():
  bias = lambda share: np.mean(np.sign(TARGET_uS) * verified(
      EXACT, OPTIONS._replace(drift_correction=share))[2])
  # From 1 s to about 180 s a conductance falls by (1 - 180^-0.04) = 19 %.
  assert abs(bias(1.0)) < 0.1
  assert bias(0.0) > 0.5


# What is counted.


def test_pulses_resets_and_reads_are_counted():
  new, info, _ = verified()
  np.testing.assert_array_equal(
      new.usage.num_pulses.sum(axis=(0, 1)), info['num_pulses'])
  resets = new.usage.num_resets - 1.0  # the first makes the chip blank
  np.testing.assert_array_equal(resets[0], resets[1])
  np.testing.assert_array_equal(resets[0, 0], info['num_resets'])
  # A pair is read at the start, and after each pulse and RESET.
  acts = info['num_pulses'] + info['num_resets']
  assert info['num_reads'] == 2 * OPTIONS.num_reads * np.sum(1 + acts)
  assert info['num_rounds'] == np.max(acts)
  np.testing.assert_allclose(
      info['elapsed_s'], (OPTIONS.delay_s + OPTIONS.read_span_s) * (
          1 + info['num_rounds']), rtol=1e-5)


@pytest.mark.parametrize('limit', [
    {'max_rounds': 7}, {'max_pulses': 5}, {'max_resets': 0}])
def test_no_budget_is_overspent(limit):
  (field, most), = limit.items()
  info = verified(options=OPTIONS._replace(**limit))[1]
  spent = np.max(info[field.replace('max', 'num')])
  assert spent == most
  assert info['converged'] < 1.0


def test_without_headroom_a_pair_begins_again():
  low = verified(options=OPTIONS._replace(overshoot_uS=np.inf, level_uS=4.0))
  high = verified(options=OPTIONS._replace(overshoot_uS=np.inf, level_uS=11.9))
  assert low[1]['num_resets'].mean() > 2 * high[1]['num_resets'].mean()
  assert low[0].devices.g_uS.mean() < high[0].devices.g_uS.mean()


def test_drift_starts_at_the_last_act_of_a_pair():
  new, info, _ = verified()
  assert np.all(new.devices.age_s <= info['elapsed_s'] + 1e-4)
  np.testing.assert_array_equal(new.devices.age_s, new.estimate.age_s)
  # At the end of the latest pair's last act only one delay has passed.
  np.testing.assert_allclose(
      np.min(new.devices.age_s), OPTIONS.delay_s + OPTIONS.read_span_s,
      rtol=1e-6)


def test_the_estimate_is_corrected_to_the_reads():
  new = verified(EXACT)[0]
  np.testing.assert_allclose(new.estimate.g_uS, new.devices.g_uS, rtol=1e-3)


def test_a_pair_out_of_acts_is_not_read_until_noise_passes_it():
  # Read noise alone would bring any pair within 3 uS sooner or later.
  noisy = EXACT._replace(c3_uS=3.0)
  _, info, error_uS = verified(noisy, OPTIONS._replace(
      num_reads=1, max_pulses=1, max_resets=0, tolerance_uS=0.5))
  assert info['num_rounds'] <= 2
  assert info['converged'] < 0.5 and rms(error_uS) > 3.0


# Other targets, other devices.


def test_single_devices_reach_targets_of_their_own():
  pair = pair_of(EXACT)
  targets_uS = jnp.asarray(np.abs(np.stack([TARGET_uS, TARGET_uS]))[:, None])
  new, info = jax.jit(
      lambda key, crossbar: program_verify.program_and_verify(
          key, *pair, crossbar,
          program_verify.devices(targets_uS, bidirectional=False),
          OPTIONS._replace(max_rounds=150, max_resets=50, max_pulses=150),
          HORIZON_S))(
              jax.random.key(1), blank(*pair, jax.random.key(0)))
  left_s = HORIZON_S - info['elapsed_s']
  error_uS = targets_uS - pair[0].read_stats(new.devices, left_s)[0]
  assert info['converged'] > 0.95
  assert np.all(np.abs(error_uS)[info['finished']] <= 0.3 + 1e-3)
  assert np.sum(info['num_resets']) > 0


def test_bidirectional_pairs_come_back_and_leave_the_other_side():
  device = ideal.make(ideal.IdealParams(step_uS=0.5))
  target_uS = jnp.asarray(TARGET_uS)
  crossbar = array.program(
      jax.random.key(0), device, device,
      jnp.zeros(SHAPE).at[:, 0].set(jnp.stack([target_uS > 4.0] * 2) * 10.0),
      0.3)
  high = np.asarray(target_uS) > 4.0
  new, info = program_verify.program_and_verify(
      jax.random.key(1), device, device, crossbar,
      program_verify.pairs(target_uS, bidirectional=True), OPTIONS,
      HORIZON_S)
  reached_uS = controller.difference(new.devices.g_uS)
  assert info['converged'] == 1.0
  assert np.all(np.abs(reached_uS - target_uS) <= 0.3)
  assert not np.sum(info['num_resets'])
  np.testing.assert_array_equal(
      new.devices.g_uS[1, 0][TARGET_uS >= 0],
      np.where(high, 10.0, 0.0)[TARGET_uS >= 0])
