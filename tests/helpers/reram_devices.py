"""Resistive memory for tests: parameters, functions, states made by hand."""

import jax
import jax.numpy as jnp

from meta_analog.devices import reram
from tests.helpers import compiled_device

MAX_PULSES = 5
DEFAULT = reram.ReRamParams()
QUIET = DEFAULT._replace(noise_scale=0.0)
program, pulse, reset, read, read_stats = compiled_device.functions(
    reram.make, MAX_PULSES)
assert_same = compiled_device.assert_same


@jax.jit
def mean(params, state, elapsed_s):
  return reram.make(params).read_stats(state, elapsed_s)[0]


def state(g_uS, *, low=0.0, high=40.0, up=0.04, down=0.04, write=0.0,
          relaxation=0.0, age_s=0.0, size=3):
  """Returns a state made by hand, every field an array [size]."""
  full = lambda x: jnp.broadcast_to(jnp.float32(x), (size,))
  return reram.ReRamState(
      g_uS=full(g_uS), low_uS=full(low), high_uS=full(high), up_uS=full(up),
      down_uS=full(down), write_uS=full(write), aim_uS=full(g_uS),
      relaxation=full(relaxation),
      age_s=full(age_s), num_pulses=full(0.0))
