"""Program-and-verify: its latch, and what its controller may know."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify
from tests.helpers import small_arrays

# As in test_program_verify: short names of what both share.
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


# The latch, and its absence.


def test_without_the_latch_the_residual_grows():
  kept, opened = (rms(_rounds(jax.random.key(0), keeps))
                  for keeps in (True, False))
  assert opened > 1.15 * kept


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


# What the controller may know.


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


# Refusals.


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
