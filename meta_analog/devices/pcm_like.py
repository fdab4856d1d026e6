"""Phase-change memory after iterative programming: statistical model of IBM.

The form is that of `ibm_statistical`, which states the assumptions about pulses
and RESET. Its curves, with r = g / g_max and natural logarithms:

    sigma_p =  (0.26348 + 1.9650 r - 1.1731 r^2) g_max / 25     uS
    mu      =  clip(-0.0155 ln r + 0.0244, 0.049, 0.1)
    s       =  clip(-0.0125 ln r - 0.0059, 0.008, 0.045)
    Q       =  min(0.0088 / r^0.65, 0.2)

Source: Joshi et al., 2020 (doi:10.1038/s41467-020-16108-9) and Nandakumar et
al., 2019 (ieeexplore.ieee.org/document/8964852), a 90 nm mushroom cell;
constants as in aihwkit 1.1.0, inference/noise/pcm.py. In absolute units at
25 uS the second coefficient of sigma_p is 1.9650 / 25 = 0.0786, which aihwkit's
weight modifier writes as 0.0768: not repeated here.

aihwkit computes Q from the programmed conductance, the publications from the
target; `read_noise_from` is 'target' in a config, or 'programmed'.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.core import types
from meta_analog.devices import common
from meta_analog.devices import ibm_statistical

BIDIRECTIONAL = False
# Parameters that may be negative.
SIGNED = ('m1', 'program_p1_uS', 'program_p2_uS', 'nu_mean_slope',
          'nu_mean_offset', 'nu_std_slope', 'nu_std_offset')
# The parameters that each source of noise is proportional to.
NOISE = {
    'program': ('program_p0_uS', 'program_p1_uS', 'program_p2_uS'),
    'read': ('read_q_scale', 'read_q_max'),
    'write': ('m2', 'c2_uS', 'a2_uS', 'reset_std'),
    'drift_spread': ('nu_std_slope', 'nu_std_offset', 'nu_std_min',
                     'nu_std_max'),
}


class PCMLikeParams(NamedTuple):
  """Parameters, all traced. Measured values unless a comment says otherwise."""

  g_min_uS: jax.Array | float = 0.0  # uS, lowest target and lowest after SET
  g_max_uS: jax.Array | float = 25.0  # uS, highest target
  # Programming, sigma_p = (p0 + p1 r + p2 r^2) g_max / program_range.
  program_p0_uS: jax.Array | float = 0.26348
  program_p1_uS: jax.Array | float = 1.9650
  program_p2_uS: jax.Array | float = -1.1731
  program_range_uS: jax.Array | float = 25.0  # uS, g_max of the measurement
  # Drift: mean and standard deviation of nu, each
  # clip(slope ln r + offset, min, max).
  nu_mean_slope: jax.Array | float = -0.0155
  nu_mean_offset: jax.Array | float = 0.0244
  nu_mean_min: jax.Array | float = 0.049
  nu_mean_max: jax.Array | float = 0.1
  nu_std_slope: jax.Array | float = -0.0125
  nu_std_offset: jax.Array | float = -0.0059
  nu_std_min: jax.Array | float = 0.008
  nu_std_max: jax.Array | float = 0.045
  # s, first read after programming: 20 in aihwkit, 27.36 in CrossSim's reading
  # of the same data (Joshi 2020), 38.6 in the model of Nandakumar 2018.
  t0_s: jax.Array | float = 20.0
  # Read, Q = min(scale / r^power, max), from the duration of a read on.
  read_q_scale: jax.Array | float = 0.0088
  read_q_power: jax.Array | float = 0.65
  read_q_max: jax.Array | float = 0.2
  t_read_s: jax.Array | float = 250e-9  # s, duration of a read
  read_noise_from: jax.Array | float = 0.0  # 0 target, 1 programmed
  # SET and RESET of a cell with this range, the constants of `pcm` (written out
  # here, for a NamedTuple cannot share fields); scaling them is assumed.
  set_range_uS: jax.Array | float = 12.0  # uS
  m1: jax.Array | float = -0.084
  c1_uS: jax.Array | float = 0.880
  a1_uS: jax.Array | float = 1.40
  m2: jax.Array | float = 0.091
  c2_uS: jax.Array | float = 0.260
  a2_uS: jax.Array | float = 2.15
  memory_pulses: jax.Array | float = 2.6  # pulses
  g_reset_uS: jax.Array | float = 0.1  # uS, mean after a RESET
  reset_std: jax.Array | float = 0.1  # of a RESET, relative
  pulse_memory_after_program: jax.Array | float = 0.0  # P, assumed
  noise_scale: jax.Array | float = 1.0  # multiplies every standard deviation


def make(
    params: PCMLikeParams = PCMLikeParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the device of IBM's statistical model, see `ibm_statistical.make`.

  Args:
    params: scalars.
    max_pulses: most SET pulses in one call of `pulse`, static.
    mean_scale: see `ibm_statistical.make`.

  Returns:
    A `types.Device`.
  """
  return ibm_statistical.make(params, curves(params), max_pulses=max_pulses,
                              mean_scale=mean_scale)


def curves(params: PCMLikeParams) -> ibm_statistical.Curves:
  """Returns the curves that these parameters define, see the file's head."""
  p = params

  def program_sigma_uS(r):
    at_range = p.program_p0_uS + p.program_p1_uS * r + p.program_p2_uS * r * r
    return at_range * p.g_max_uS / p.program_range_uS

  def nu_mean(r):
    return quantization.saturate(
        p.nu_mean_slope * jnp.log(r) + p.nu_mean_offset, p.nu_mean_min,
        p.nu_mean_max)

  def nu_std(r):
    return quantization.saturate(p.nu_std_slope * jnp.log(r) + p.nu_std_offset,
                                 p.nu_std_min, p.nu_std_max)

  def read_q(r):
    return quantization.saturate(
        p.read_q_scale * r ** -p.read_q_power, 0.0, p.read_q_max)

  return ibm_statistical.Curves(program_sigma_uS, nu_mean, nu_std, read_q)
