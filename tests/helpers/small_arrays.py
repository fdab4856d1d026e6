"""Small arrays for tests of program-and-verify."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
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


def true_error(params, crossbar, elapsed_s):
  """Returns what nobody on the chip sees: the error of the mean."""
  device = pair_of(params)[0]
  mean_uS = device.read_stats(crossbar.devices, HORIZON_S - elapsed_s)[0]
  return TARGET_uS - controller.difference(mean_uS)


def rms(x):
  return float(np.sqrt(np.mean(np.square(x))))
