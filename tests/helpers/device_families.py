"""Every device family, compiled once, for tests of the contract."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import types
from meta_analog.devices import registry as device_registry

MAX_PULSES = 4
each_family = pytest.mark.parametrize('name', sorted(device_registry.FAMILIES))


def params(name, **changes):
  return device_registry.FAMILIES[name].params(**changes)


def device(name, **changes):
  """Returns the device, compiled once for each shape whatever its numbers."""
  make = device_registry.FAMILIES[name].make
  return types.Device(*(
      functools.partial(compiled(make, function), params(name, **changes))
      for function in types.Device._fields))


@functools.cache
def compiled(make, function):
  """Returns one function of a device, its parameters traced."""
  return jax.jit(lambda params, *args: getattr(
      make(params, MAX_PULSES), function)(*args))


def program(device, shape=(3,), g=5.0, seed=0):
  return device.program(jax.random.key(seed), jnp.full(shape, g))


def layout(state):
  """Returns what a scan carry must keep: type, shapes and dtypes."""
  leaves, tree = jax.tree.flatten(state)
  return tree, [(leaf.shape, leaf.dtype) for leaf in leaves]


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)
