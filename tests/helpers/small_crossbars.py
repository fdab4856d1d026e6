"""Small crossbars: their size, and functions compiled once for tests."""

import functools

import jax
import jax.numpy as jnp
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import mapping

SHAPE = (5, 3)  # I, O
SPAN_uS, FLOOR_uS, GAIN = 10.0, 0.1, 0.3
AGE_S = jnp.float32(100.0)  # from programming to a read or a write
# Compiled once for each technology and shape; a `Device` is static.
write = jax.jit(array.pulse, static_argnums=(1, 2))
advance = jax.jit(array.advance, static_argnums=(0, 1))
_program = jax.jit(array.program, static_argnums=(1, 2))
devices_per_polarity = pytest.mark.parametrize('num_devices', [1, 2, 3])


@functools.partial(jax.jit, static_argnums=1)
def uniform(seed, shape, low, high):
  return jax.random.uniform(
      jax.random.key(seed), shape, minval=low, maxval=high)


@functools.partial(jax.jit, static_argnames=('num_devices',))
def targets(u, num_devices):
  return mapping.targets_from_parameters(u, SPAN_uS, FLOOR_uS, num_devices)


def program(pair, u, num_devices, seed=0):
  return _program(jax.random.key(seed), *pair, targets(u, num_devices), GAIN)
