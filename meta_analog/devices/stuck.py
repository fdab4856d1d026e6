"""Stuck devices: a wrapper around any device model.

A stuck device always reads one conductance, shorted (high) or open (low),
without noise or drift; pulses have no effect. Which devices are stuck is drawn
when the array is programmed and unknown to the controller.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.devices import common


class StuckState(NamedTuple):
  """State of an array of devices of which some are stuck."""

  healthy: Any  # state of the devices without defects
  stuck: jax.Array  # whether it is, bool
  stuck_uS: jax.Array  # uS, its conductance then

  @property
  def g_uS(self) -> jax.Array:
    """Conductance at the reference age, uS."""
    return jnp.where(self.stuck, self.stuck_uS, self.healthy.g_uS)

  @property
  def num_pulses(self) -> jax.Array:
    """Pulses since programming or RESET, those without effect included."""
    return self.healthy.num_pulses


def make(
    device: types.Device,
    *,
    fraction: float,
    high_share: float,
    low_uS: float,
    high_uS: float,
) -> types.Device:
  """Returns the technology with stuck devices among its arrays.

  Args:
    device: the technology.
    fraction: probability that a device is stuck, 1 minus the yield.
    high_share: share of the stuck devices that are shorted.
    low_uS: conductance of an open device.
    high_uS: conductance of a shorted device.

  Returns:
    A `types.Device`.
  """
  def program(key, target_uS):
    key_healthy, key_stuck, key_high = jax.random.split(key, 3)
    bernoulli = lambda key, share: jax.random.bernoulli(
        key, jnp.float32(share), target_uS.shape)
    high = bernoulli(key_high, high_share)
    return StuckState(
        healthy=device.program(key_healthy, target_uS),
        stuck=bernoulli(key_stuck, fraction),
        stuck_uS=jnp.where(high, jnp.float32(high_uS), jnp.float32(low_uS)))

  def pulse(key, state, num_pulses):
    return state._replace(
        healthy=device.pulse(key, state.healthy, num_pulses))

  def reset(key, state, mask):
    return state._replace(healthy=device.reset(key, state.healthy, mask))

  def advance(state, elapsed_s):
    return state._replace(healthy=device.advance(state.healthy, elapsed_s))

  def read(key, state, elapsed_s):
    g_uS = device.read(key, state.healthy, elapsed_s)
    return jnp.where(state.stuck, state.stuck_uS, g_uS)

  def read_stats(state, elapsed_s):
    mean_uS, sigma_uS = device.read_stats(state.healthy, elapsed_s)
    return (jnp.where(state.stuck, state.stuck_uS, mean_uS),
            jnp.where(state.stuck, 0.0, sigma_uS))

  return common.device(program, pulse, reset, advance, read, read_stats)
