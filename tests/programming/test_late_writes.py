"""Program-and-verify that begins years after an array was made."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify
from meta_analog.programming import verify_options

DAY_S, YEAR_S = 86400.0, 31536000.0
SHAPE, HORIZON_S = (2, 1, 64, 64), 128.0
OPTIONS = verify_options.VerifyOptions(tolerance_uS=0.5, delay_s=0.25)
PAIR = (pcm.make(max_pulses=1),
        pcm.make(pcm.PCMParams(noise_scale=0.0), max_pulses=1))
TARGET_uS = np.random.default_rng(0).uniform(-9.0, 9.0, SHAPE[2:]).astype('f')


@jax.jit
def _verify(key, start_s):
  """Returns the true error at the horizon, and how long programming took."""
  keys = jax.random.split(key, 3)
  crossbar = array.advance(*PAIR, initial_programming.blank(
      keys[0], *PAIR, SHAPE, 1.0), start_s)
  crossbar = array.reset_devices(
      keys[1], *PAIR, crossbar, jnp.ones(SHAPE, bool))
  crossbar, info = program_verify.program_and_verify(
      keys[2], *PAIR, crossbar,
      program_verify.pairs(TARGET_uS, bidirectional=False), OPTIONS, HORIZON_S)
  mean_uS = PAIR[0].read_stats(
      crossbar.devices, HORIZON_S - info['elapsed_s'])[0]
  return controller.difference(mean_uS) - TARGET_uS, info['elapsed_s']


@functools.cache
def verified(start_s, seed):
  return jax.tree.map(np.asarray, _verify(
      jax.random.key(seed), jnp.float32(start_s)))


@pytest.mark.parametrize('start_s', [DAY_S, YEAR_S, 10 * YEAR_S])
def test_a_late_start_changes_neither_the_error_nor_the_time_it_takes(start_s):
  (at_once_uS, at_once_s), (late_uS, late_s) = (
      verified(start, seed=0) for start in (0.0, start_s))
  assert abs(late_s - at_once_s) < 1e-3
  np.testing.assert_allclose(late_uS, at_once_uS, atol=1e-4)


@pytest.mark.parametrize('start_s', [0.0, 10 * YEAR_S])
def test_the_error_of_other_arrays_has_the_same_size(start_s):
  # 4096 pairs: 6 errors are 7 % of the std.
  error_uS, elapsed_s = verified(start_s, seed=1)
  assert abs(np.std(error_uS) / np.std(verified(0.0, seed=0)[0]) - 1) < 0.1
  assert 0.3 < np.std(error_uS) < 0.6
  assert 10.0 < elapsed_s <= verify_options.longest_s(OPTIONS) + 1e-3
