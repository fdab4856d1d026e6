"""Trains of partial SET pulses of phase-change devices.

One SET pulse, the n-th since RESET, adds a random step that depends on the
conductance G and on the history, carried by a pulse memory P = exp(-n / a):

    P       <- P exp(-1 / a)                          before the step
    dG      =  m1 G + c1 + A1 P + (m2 G + c2 + A2 P) N(0, 1)
    G       <- clip(G + dG, low, high)

A noise-free model takes the mean of each step and of its clip at the mean
state, which is exact for the first pulse from RESET.

Source: Nandakumar et al., 2018 (doi:10.1063/1.5042408).
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.devices import common


class Law(NamedTuple):
  """Constants of one SET pulse, all traced.

  The mean step is m1 G + c1 + A1 P, its standard deviation m2 G + c2 + A2 P.
  """

  m1: jax.Array | float
  c1_uS: jax.Array | float
  a1_uS: jax.Array | float
  m2: jax.Array | float
  c2_uS: jax.Array | float
  a2_uS: jax.Array | float
  memory_pulses: jax.Array | float  # a, pulses


def scaled(law: Law, factor: jax.Array) -> Law:
  """Returns the law of a device whose every conductance is `factor` larger."""
  return law._replace(
      c1_uS=law.c1_uS * factor, a1_uS=law.a1_uS * factor,
      c2_uS=law.c2_uS * factor, a2_uS=law.a2_uS * factor)


def train(
    key: jax.Array,
    law: Law,
    state: Any,
    num_pulses: jax.Array,
    *,
    step: jax.Array,
    low_uS: jax.Array,
    high_uS: jax.Array,
    noise_scale: jax.Array,
    max_pulses: int,
    mean_scale: common.MeanScale = None,
) -> Any:
  """Returns the state after a train of SET pulses.

  The number of pulses is differentiated as the mean step at the state where
  the train ends; a state that was clipped at a bound passes no gradient.

  Args:
    key: consumed.
    law: constants of one pulse.
    state: a NamedTuple with the fields `g_uS`, `pulse_memory` and
      `num_pulses`, which change, all of one shape; other fields are kept.
    num_pulses: whole numbers as floats, at most max_pulses, same shape; a
      device with none keeps its state bit for bit.
    step: relative size of this device's mean step.
    low_uS: lowest state after a pulse.
    high_uS: highest state after a pulse.
    noise_scale: multiplies the standard deviation of the step.
    max_pulses: static.
    mean_scale: see `common.limited`.

  Returns:
    The new state.
  """
  limits = low_uS, high_uS

  def body(state, i):
    # Not a scan over split keys: batched, the checker calls that a reuse.
    normal = gaussian.normal(jax.random.fold_in(key, i), state.g_uS.shape)
    share = count_gradient(num_pulses, i, max_pulses)
    active = jax.lax.stop_gradient(num_pulses) > i
    return _pulse(law, state, noise_scale * normal, active, share, step,
                  mean_scale, limits), None

  return jax.lax.scan(body, state, jnp.arange(max_pulses))[0]


def count_gradient(
    num_pulses: jax.Array, i: jax.Array, max_pulses: int
) -> jax.Array:
  """Returns 0, whose derivative to num_pulses = n is the weight of pulse i.

  The derivative of a train of n pulses is taken as the mean of its last step
  and of the one that would come next: a central difference. An empty train has
  no last step and a full one no next, so there the other counts whole. Around
  an empty train of a bidirectional device lie a step up and a step down, whose
  mean the caller multiplies with.

  Args:
    num_pulses: whole numbers as floats, negative for a bidirectional device.
    i: number of a pulse, from 0.
    max_pulses: most pulses of a train.

  Returns:
    Zeros, shape of num_pulses.
  """
  n = jax.lax.stop_gradient(num_pulses)
  size = jnp.abs(n)
  last = jnp.where(size == max_pulses, 1.0, 0.5)
  coming = jnp.where(size == 0, 1.0, 0.5)
  weight = jnp.where(i == size - 1, last, jnp.where(i == size, coming, 0.0))
  return weight * (num_pulses - n)


def _pulse(law, state, normal, active, share, step, mean_scale, limits):
  """Returns the state after one pulse of a train where it is active."""
  memory = state.pulse_memory * jnp.exp(-1.0 / law.memory_pulses)
  mean_uS = step * (law.m1 * state.g_uS + law.c1_uS + law.a1_uS * memory)
  sigma_uS = law.m2 * state.g_uS + law.c2_uS + law.a2_uS * memory
  headroom_uS = jnp.clip(state.g_uS + mean_uS, *limits) - state.g_uS
  counted_uS = state.g_uS + share * jax.lax.stop_gradient(headroom_uS)
  pulsed_uS = common.limited(
      counted_uS + mean_uS, sigma_uS, normal, mean_scale, *limits)
  return state._replace(
      g_uS=jnp.where(active, pulsed_uS, counted_uS),
      pulse_memory=jnp.where(active, memory, state.pulse_memory),
      num_pulses=state.num_pulses + active,
  )
