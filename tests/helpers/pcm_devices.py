"""Phase-change memory for tests: parameters, functions, states made by hand."""

import jax
import jax.numpy as jnp

from meta_analog.devices import pcm
from tests.helpers import compiled_device

MAX_PULSES = 20
QUIET = pcm.PCMParams(noise_scale=0.0)
# No bound within reach: the draw shows in the state.
FREE = pcm.PCMParams(g_min_uS=-1e4, g_max_uS=1e4, g_reset_min_uS=-1e4)
program, pulse, reset, read, read_stats = compiled_device.functions(
    pcm.make, MAX_PULSES)
assert_same = compiled_device.assert_same


def state(g_uS, memory=0.0, *, nu=0.04, step=1.0, age_s=0.0, size=3):
  """Returns a state made by hand, every field an array [size]."""
  full = lambda x: jnp.broadcast_to(jnp.float32(x), (size,))
  return pcm.PCMState(
      g_uS=full(g_uS), pulse_memory=full(memory), age_s=full(age_s),
      nu=full(nu), step=full(step), num_pulses=full(0.0))


def fresh(size, params=pcm.PCMParams(reset_std=0.0)):
  """Returns devices [size] after RESET; the spread is zero by default."""
  everywhere = jnp.ones(size, bool)
  return reset(jax.random.key(99), params, state(5.0, size=size), everywhere)
