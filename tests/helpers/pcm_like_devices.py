"""IBM's statistical model for tests: parameters, functions, states by hand."""

import jax.numpy as jnp

from meta_analog.devices import ibm_statistical
from meta_analog.devices import pcm_like
from tests.helpers import compiled_device

QUIET = pcm_like.PCMLikeParams(noise_scale=0.0)
TARGET = pcm_like.PCMLikeParams(read_noise_from=0.0)
PROGRAMMED = pcm_like.PCMLikeParams(read_noise_from=1.0)
# The publication has no RESET state: it programs the target 0 like any other.
QUIET_0, TARGET_0, PROGRAMMED_0 = (
    params._replace(g_reset_uS=0.0) for params in (QUIET, TARGET, PROGRAMMED))
TIMES_S = {'1s': 1.0, '1h': 3600.0, '1d': 86400.0, '30d': 2592000.0,
           '1yr': 31536000.0}
program, pulse, reset, read, read_stats = compiled_device.functions(
    pcm_like.make, 5)
assert_same = compiled_device.assert_same


def state(g_uS, *, nu=0.06, q=0.01, normal=0.0, memory=0.0, age_s=0.0,
          size=3):
  """Returns a state made by hand, every field an array [size]."""
  full = lambda x: jnp.broadcast_to(jnp.float32(x), (size,))
  return ibm_statistical.State(
      g_uS=full(g_uS), nu=full(nu), nu_normal=full(normal), read_q=full(q),
      pulse_memory=full(memory), age_s=full(age_s), num_pulses=full(0.0))
