"""Resistive memory with exponential steps, fitted to a measured trace.

All is as in `reram` but the law of a pulse, whose size falls exponentially from
the end of the window that it comes from to a plateau:

    z     =  2 a (G - ref) / (high - low) + b
    up:    G <- G + s_up   max(1 - A_up exp(gamma_up z), 0)     (1 + c N(0, 1))
    down:  G <- G - s_down max(1 - A_down exp(-gamma_down z), 0) (1 + c N(0, 1))

and G stays in [low, high]. With the numbers below a step up is 2.2 s_up at the
lower end of the window and 1.0 s_up at the upper one, a step down 13 s_down at
the upper end and 1.1 s_down at the lower one.

Source: the exponential-step device of aihwkit 1.1.0 (rpu_expstep_device.cpp)
and its preset ReRamES, which was fitted to 1,000 pulses up and 1,000 down on
one device of Gong et al., 2018 (doi:10.1038/s41467-018-04485-1), in weights
from -1 to 1. They are taken as the window of `reram`, 0 and 40 uS: one unit is
20 uS, a weight of 0 is 20 uS and the step of the preset, 0.00135, is 0.027 uS.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import reram

BIDIRECTIONAL = True
REFERENCE = 0.5  # where a weight of 0 lies in the window
SIGNED = ('imbalance', 'es_a', 'es_b', 'es_a_up', 'es_a_down')
NOISE = reram.NOISE


class ReRamESParams(NamedTuple):
  """Parameters, all traced: of the preset, and the rest of `reram`."""

  g_min_uS: jax.Array | float = 0.0  # uS, lower end of the window
  g_max_uS: jax.Array | float = 40.0  # uS, its upper end
  step_uS: jax.Array | float = 0.027  # uS, mean step of the plateau
  # Law of a step.
  es_a: jax.Array | float = -0.5
  es_b: jax.Array | float = -0.5
  es_gamma_up: jax.Array | float = 5.0
  es_gamma_down: jax.Array | float = 5.0
  es_a_up: jax.Array | float = -1.18445
  es_a_down: jax.Array | float = -0.081404
  # From cycle to cycle.
  cycle_std: jax.Array | float = 5.0  # of a pulse, relative to its mean
  write_std: jax.Array | float = 75.0  # of the offset, in mean steps
  # From device to device, relative.
  step_std: jax.Array | float = 0.2
  imbalance: jax.Array | float = 0.259359  # steps down are smaller by it
  imbalance_std: jax.Array | float = 0.05  # between steps up and down
  high_std: jax.Array | float = 0.3  # of high - ref
  low_std: jax.Array | float = 0.3  # of ref - low
  # As in `reram`.
  program_scale: jax.Array | float = 1.0
  relax_scale: jax.Array | float = 1.0
  read_std: jax.Array | float = 0.01  # of g_max
  reset_std_uS: jax.Array | float = 0.2  # uS, of what a RESET leaves
  noise_scale: jax.Array | float = 1.0  # multiplies every standard deviation


def make(
    params: ReRamESParams = ReRamESParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the ReRAM of `reram.make` with exponential steps.

  Args:
    params: scalars.
    max_pulses: most pulses in one call of `pulse`, of either sign, static.
    mean_scale: see `reram.make`.

  Returns:
    A `types.Device`.
  """
  return reram.make(params, max_pulses=max_pulses, mean_scale=mean_scale,
                    steps_fn=steps, reference=REFERENCE)


def steps(
    params: ReRamESParams, ref_uS: jax.Array, state: reram.ReRamState
) -> reram.Steps:
  """Returns the steps of one pulse, see the file's head."""
  p = params
  z = 2.0 * p.es_a * (state.g_uS - ref_uS) / (state.high_uS - state.low_uS)
  z = z + p.es_b
  shape = lambda a, x: jnp.maximum(1.0 - a * jnp.exp(x), 0.0)
  up_uS = state.up_uS * shape(p.es_a_up, p.es_gamma_up * z)
  down_uS = state.down_uS * shape(p.es_a_down, -p.es_gamma_down * z)
  return reram.Steps(up_uS, down_uS, p.cycle_std * up_uS, p.cycle_std * down_uS)
