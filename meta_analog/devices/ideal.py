"""Ideal analog memory: exact, bidirectional, without noise or drift.

It replaces a real device by one word of the configuration, and so shows the
effect of device physics.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.devices import common

BIDIRECTIONAL = True


class IdealParams(NamedTuple):
  """Parameters, all traced."""

  g_min_uS: jax.Array | float = 0.0  # uS, lowest state
  g_max_uS: jax.Array | float = 25.0  # uS, highest state
  step_uS: jax.Array | float = 1.0  # conductance change of one pulse
  noise_scale: jax.Array | float = 1.0  # kept for the contract: no noise


class IdealState(NamedTuple):
  """State of an array of devices; all fields have the array's shape."""

  g_uS: jax.Array
  num_pulses: jax.Array  # pulses since programming, of either sign


def make(params: IdealParams = IdealParams()) -> types.Device:
  """Returns the ideal device with these parameters.

  Pulses add `step_uS` each; the state stays in [g_min_uS, g_max_uS].

  Args:
    params: scalars.

  Returns:
    A `types.Device`.
  """
  def limit(g_uS):
    return quantization.saturate(g_uS, params.g_min_uS, params.g_max_uS)

  def program(key, target_uS):
    del key
    return IdealState(g_uS=limit(target_uS),
                      num_pulses=jnp.zeros_like(target_uS))

  def pulse(key, state, num_pulses):
    del key
    g_uS = limit(state.g_uS + params.step_uS * num_pulses)
    return IdealState(g_uS=g_uS,
                      num_pulses=state.num_pulses + jnp.abs(num_pulses))

  def reset(key, state, mask):
    del key
    low = jnp.full_like(state.g_uS, params.g_min_uS)
    return IdealState(g_uS=jnp.where(mask, low, state.g_uS),
                      num_pulses=jnp.where(mask, 0.0, state.num_pulses))

  def advance(state, elapsed_s):
    del elapsed_s
    return state

  def read(key, state, elapsed_s):
    del key, elapsed_s
    return state.g_uS

  def read_stats(state, elapsed_s):
    del elapsed_s
    return state.g_uS, jnp.zeros_like(state.g_uS)

  return common.device(program, pulse, reset, advance, read, read_stats)


def shift(state: IdealState, change_uS: jax.Array) -> IdealState:
  """Returns the state with `change_uS` added: no pulse, and no bound either.

  For a float reference, which a range must not limit; a pulse that follows
  brings the state back into the range.

  Args:
    state: of an array of devices.
    change_uS: of either sign, the array's shape.

  Returns:
    New state; no pulse is counted.
  """
  return state._replace(g_uS=state.g_uS + change_uS)
