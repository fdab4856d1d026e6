"""Tests of program-and-verify: what is reached, counted, latched, known."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify
from meta_analog.programming import verify_options

SHAPE = (2, 1, 24, 24)  # P, D, I, O
HORIZON_S = jnp.float32(200.0)  # from the start to the time of predictions
OPTIONS = verify_options.VerifyOptions(tolerance_uS=0.3)
# No noise of reads, no spread of exponents: what is read is what is.
EXACT = pcm.PCMParams(m3=0.0, c3_uS=0.0, nu_std=0.0)
TARGET_uS = np.random.default_rng(0).uniform(-9, 9, SHAPE[2:]).astype('f')


def pair_of(params, max_pulses=1):
  return (pcm.make(params, max_pulses=max_pulses),
          pcm.make(params._replace(noise_scale=0.0), max_pulses=max_pulses))


@functools.partial(jax.jit, static_argnums=(0, 1))
def blank(device, noise_free, key):
  return initial_programming.blank(key, device, noise_free, SHAPE, 0.3)


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


def _true_error(params, crossbar, elapsed_s):
  """Returns what nobody on the chip sees: the error of the mean."""
  device = pair_of(params)[0]
  mean_uS = device.read_stats(crossbar.devices, HORIZON_S - elapsed_s)[0]
  return TARGET_uS - controller.difference(mean_uS)


@functools.cache
def verified(params=pcm.PCMParams(), options=OPTIONS, seed=0):
  return jax.tree.map(np.asarray, _verify(
      jax.random.key(seed), params, options))


def rms(x):
  return float(np.sqrt(np.mean(np.square(x))))


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
  # What is frozen while a look lasts, no number of its reads can tell.
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


def test_without_room_a_pair_begins_again():
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


def test_what_has_no_act_left_is_not_read_until_it_looks_right():
  # Read noise alone would bring any pair within 3 uS sooner or later.
  noisy = EXACT._replace(c3_uS=3.0)
  _, info, error_uS = verified(noisy, OPTIONS._replace(
      num_reads=1, max_pulses=1, max_resets=0, tolerance_uS=0.5))
  assert info['num_rounds'] <= 2
  assert info['converged'] < 0.5 and rms(error_uS) > 3.0


# The latch, and its absence.


@jax.jit
def _rounds(key, keeps):
  """Returns the true error after 40 rounds; the latch opens unless it keeps."""
  params, options = pcm.PCMParams(), OPTIONS._replace(num_reads=2)
  pair, target = pair_of(params), program_verify.pairs(
      TARGET_uS, bidirectional=False)
  args = target, options
  crossbar = initial_programming.blank(
      jax.random.fold_in(key, 0), *pair, SHAPE, 0.3)
  begun = program_verify.start(
      jax.random.fold_in(key, 1), *pair, crossbar, *args, HORIZON_S)

  def body(i, progress):
    acted = program_verify.pulse_or_reset(
        jax.random.fold_in(key, 2 * i), *pair, progress, *args)
    acted = acted._replace(closed=acted.closed & keeps)
    return program_verify.read_and_latch(
        jax.random.fold_in(key, 2 * i + 1), *pair, acted, *args, HORIZON_S)

  done = jax.lax.fori_loop(1, 41, body, begun)
  return _true_error(params, done.crossbar, done.elapsed_s)


def test_without_the_latch_the_residual_grows():
  kept, opened = (rms(_rounds(jax.random.key(0), keeps))
                  for keeps in (True, False))
  assert opened > 1.15 * kept


# What the controller may know.


class _Script(NamedTuple):
  """A device that reads as scripted, without noise, whatever its state."""

  g_uS: jax.Array
  num_pulses: jax.Array
  age_s: jax.Array


def _scripted():
  def program(key, target_uS):
    return _Script(100.0 * jax.random.normal(key, target_uS.shape),
                   jnp.zeros_like(target_uS), jnp.zeros_like(target_uS))

  def read_stats(state, elapsed_s):
    place = jnp.arange(state.g_uS.size).reshape(state.g_uS.shape)
    read_uS = 3.0 + 4.0 * jnp.sin(1.7 * place + state.age_s + elapsed_s)
    return read_uS, jnp.zeros_like(read_uS)

  return types.Device(
      program=program,
      pulse=lambda key, state, n: state._replace(
          num_pulses=state.num_pulses + jnp.abs(n)),
      reset=lambda key, state, mask: state,
      advance=lambda state, elapsed_s: state._replace(
          age_s=state.age_s + elapsed_s),
      read=lambda key, state, elapsed_s: read_stats(state, elapsed_s)[0],
      read_stats=read_stats)


def test_verification_does_not_see_the_true_state():
  device, noise_free = _scripted(), ideal.make()
  target_uS = jnp.array([[2.0, -3.0], [0.5, 6.0]])
  found = []
  for seed in (0, 1):
    crossbar = array.program(jax.random.key(seed), device, noise_free,
                             jnp.zeros((2, 2, 2, 2)), 0.3)
    new, info = program_verify.program_and_verify(
        jax.random.key(2), device, noise_free, crossbar,
        program_verify.pairs(target_uS, bidirectional=False),
        OPTIONS._replace(max_rounds=12, num_reads=1, max_pulses=11),
        HORIZON_S)
    found.append((new.usage, new.counter, new.estimate, info))
    assert np.sum(new.usage.num_pulses) > 10
    assert np.max(info['num_pulses']) <= 11.0
    assert np.sum(new.usage.num_resets) > 0
  jax.tree.map(np.testing.assert_array_equal, *found)


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


# Refusals.


@pytest.mark.parametrize('field, value, words', [
    ('max_rounds', 0, 'at least 1'),
    ('max_pulses', 0, 'at least 1'),
    ('max_pulses', 2.5, 'whole number'),
    ('max_rounds', float('inf'), 'whole number'),
    ('max_resets', -1, 'at least 0'),
    ('num_reads', 0, 'at least 1'),
    ('tolerance_uS', 0.0, 'greater than 0'),
    ('tolerance_uS', float('nan'), 'greater than 0'),
    ('tolerance_uS', 0.05, 'standard deviation of the mean of num_reads = 16'),
    ('level_uS', -1.0, 'greater than 0'),
    ('overshoot_uS', 0.0, 'greater than 0'),
    ('delay_s', -1.0, 'at least 0'),
    ('delay_s', 2.0, 'until the date of the target'),
    ('delay_s', 1.95, 'until the date of the target'),  # with the reads
    ('read_span_s', -0.1, 'at least 0'),
    ('drift_correction', 1.1, 'at most 1'),
    ('fresh_share', 1.1, 'at most 1'),
])
def test_budgets_that_cannot_be_are_refused(field, value, words):
  verify_options.check(OPTIONS, 0.4, duration_s=200.0)
  with pytest.raises(ValueError, match=f'{field} = .*{words}'):
    verify_options.check(OPTIONS._replace(**{field: value}),
                         0.4,
                         duration_s=200.0)


def test_reads_that_share_all_their_noise_tell_no_more_than_one():
  # One read tells 0.4 uS apart, and OPTIONS's tolerance is 0.3.
  with pytest.raises(ValueError, match='tolerance_uS = 0.3: .*at least 0.4'):
    verify_options.check(OPTIONS._replace(fresh_share=0.0), 0.4)


def test_a_tolerance_below_half_a_step_to_and_fro_is_refused():
  verify_options.check(OPTIONS, 0.0, step_uS=0.59)
  with pytest.raises(ValueError, match='tolerance_uS = 0.3: .*half a step'):
    verify_options.check(OPTIONS, 0.0, step_uS=0.61)


def test_what_is_not_touched_is_neither_read_nor_corrected():
  pair, touched = pair_of(EXACT), np.abs(TARGET_uS) < 3.0
  before = blank(*pair, jax.random.key(0))
  new, info = jax.jit(lambda key: program_verify.program_and_verify(
      key, *pair, before, program_verify.pairs(TARGET_uS, bidirectional=False),
      OPTIONS._replace(max_rounds=3), HORIZON_S,
      jnp.asarray(touched)))(jax.random.key(1))
  for a, b in ((before.estimate.g_uS, new.estimate.g_uS),
               (before.devices.g_uS, new.devices.g_uS)):
    np.testing.assert_array_equal(a[..., ~touched], b[..., ~touched])
    assert np.mean(a[..., touched] != b[..., touched]) > 0.5
  acts = info['num_pulses'] + info['num_resets']
  assert not np.any(acts[~touched])
  assert info['num_reads'] == 2 * OPTIONS.num_reads * np.sum(
      (1 + acts)[touched])
  assert np.all(info['finished'][~touched])


def test_the_deviation_of_a_read_is_that_of_the_pair():
  # No draw decides: the errors of programming are as large as ever.
  sigma_uS = controller.read_sigma_uS(
      *pair_of(pcm.PCMParams(noise_scale=1.5)), 6.0, 0.1, 4, 38.6)
  np.testing.assert_allclose(
      sigma_uS, 3.0 * np.hypot(0.03 * 6.0 + 0.13, 0.03 * 0.1 + 0.13),
      rtol=1e-4)


def test_the_tolerance_allowed_is_the_deviation_of_a_look():
  # (1 - 0.65) + 0.65 / 16 of the variance of a read is left.
  least_uS = 0.4 * np.sqrt(0.35 + 0.65 / 16)
  verify_options.check(OPTIONS._replace(tolerance_uS=1.001 * least_uS), 0.4)
  with pytest.raises(ValueError, match='tolerance_uS'):
    verify_options.check(OPTIONS._replace(tolerance_uS=0.999 * least_uS), 0.4)
