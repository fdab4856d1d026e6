"""The functions of a device, compiled once whatever its parameters are."""

import functools
from typing import Any
from typing import NamedTuple

import jax
import numpy as np


class Functions(NamedTuple):
  """Those of `types.Device`, with the parameters as an argument."""

  program: Any
  pulse: Any  # takes max_pulses too
  reset: Any
  read: Any
  read_stats: Any


@functools.cache
def functions(make, max_pulses):
  """Returns the functions of the devices that make(params) returns.

  Parameters are traced and the tests' shapes few, so each compiles rarely.

  Args:
    make: a family's function, (params, max_pulses) -> types.Device.
    max_pulses: the longest train of `pulse`, unless a call gives another.
  """
  @functools.partial(jax.jit, static_argnames='max_pulses')
  def pulse(key, params, state, num_pulses, max_pulses=max_pulses):
    device = make(params, max_pulses=max_pulses)
    return device.pulse(key, state, num_pulses)

  return Functions(
      program=jax.jit(lambda key, params, target_uS: make(params).program(
          key, target_uS)),
      pulse=pulse,
      reset=jax.jit(lambda key, params, state, mask: make(params).reset(
          key, state, mask)),
      read=jax.jit(lambda key, params, state, elapsed_s: make(params).read(
          key, state, elapsed_s)),
      read_stats=jax.jit(lambda params, state, elapsed_s: make(
          params).read_stats(state, elapsed_s)))


def assert_same(a, b):
  """Asserts that two tuples of arrays are equal bit for bit."""
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x, y)
