"""Phase-change memory of a 14 nm chip: statistical model of HERMES.

The form is that of `ibm_statistical`, which states the assumptions about pulses
and RESET. The curves, with r = g / g_max and natural logarithms, have
two branches each, which meet only roughly (mu jumps by 0.001 at its break
point):

    sigma_p =  (p0 + p1 r + p2 r^2 + p3 r^3) g_max / program_range    uS
    mu      =  clip(a ln r + b, low, high)   below a break point,
               q0 + q1 r + q2 r^2            from there on
    s, Q    =  the same form, Q with a cubic

There are two sets of coefficients. One device per polarity: `HermesParams()`.
Two devices per polarity, programmed together such that at most one of them is
in an intermediate state: `pair_params()`, g_max twice as large. One state is
then the pair of one polarity, which was characterised as one conductance; the
other polarity is another state with noise of its own.

Unlike in the 90 nm model (`pcm_like`), nu keeps falling with the conductance,
to 0.0174 at g_max. Outside [0, g_max] the curves are extrapolations; s and Q
are cut at 0 there.

Source: Le Gallo et al., 2023 (doi:10.1038/s41928-023-01010-1); Vasilopoulos et
al., 2023, for two devices (ieeexplore.ieee.org/document/10281389);
Khaddam-Aljameh et al., 2022, for the chip (ieeexplore.ieee.org/document/
9696185). Coefficients as in aihwkit 1.1.0, inference/noise/hermes.py, which
computes Q from the programmed conductance; `read_noise_from` as in `pcm_like`.
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
SIGNED = ('m1', 'program_p1_uS', 'program_p2_uS', 'program_p3_uS',
          'nu_mean_slope', 'nu_mean_offset', 'nu_mean_q1', 'nu_mean_q2',
          'nu_std_slope', 'nu_std_offset', 'nu_std_q1', 'nu_std_q2',
          'read_slope', 'read_offset', 'read_q1', 'read_q2', 'read_q3')

# The parameters that each source of noise is proportional to.
NOISE = {
    'program': ('program_p0_uS', 'program_p1_uS', 'program_p2_uS',
                'program_p3_uS'),
    'read': ('read_slope', 'read_offset', 'read_min', 'read_max', 'read_q0',
             'read_q1', 'read_q2', 'read_q3'),
    'write': ('m2', 'c2_uS', 'a2_uS', 'reset_std'),
    'drift_spread': ('nu_std_slope', 'nu_std_offset', 'nu_std_min',
                     'nu_std_max', 'nu_std_q0', 'nu_std_q1', 'nu_std_q2'),
}


class HermesParams(NamedTuple):
  """Parameters of one device per polarity, all traced.

  Measured values unless a comment says otherwise.
  """

  g_min_uS: jax.Array | float = 0.0  # uS, lowest target and lowest after SET
  g_max_uS: jax.Array | float = 10.35  # uS, highest target
  # Programming, a polynomial of r in uS at g_max = program_range.
  program_p0_uS: jax.Array | float = 0.15781817
  program_p1_uS: jax.Array | float = 2.32443916
  program_p2_uS: jax.Array | float = -2.16310839
  program_p3_uS: jax.Array | float = 0.68841818
  program_range_uS: jax.Array | float = 10.35  # uS, g_max of the measurement
  # Mean of nu.
  nu_mean_break: jax.Array | float = 0.0945  # r
  nu_mean_slope: jax.Array | float = -0.0387
  nu_mean_offset: jax.Array | float = -0.0182
  nu_mean_min: jax.Array | float = 0.0720
  nu_mean_max: jax.Array | float = 0.13
  nu_mean_q0: jax.Array | float = 0.0736
  nu_mean_q1: jax.Array | float = -0.0126
  nu_mean_q2: jax.Array | float = -0.0436
  # Standard deviation of nu.
  nu_std_break: jax.Array | float = 0.3039  # r
  nu_std_slope: jax.Array | float = -0.0120
  nu_std_offset: jax.Array | float = -0.0023
  nu_std_min: jax.Array | float = 0.0124
  nu_std_max: jax.Array | float = 0.04
  nu_std_q0: jax.Array | float = 0.0104
  nu_std_q1: jax.Array | float = 0.0116
  nu_std_q2: jax.Array | float = -0.0165
  # s, first read after programming: 200 for one device, 300 for two; 20 and
  # more in other technologies, see `pcm_like`.
  t0_s: jax.Array | float = 200.0
  # Read, Q.
  read_break: jax.Array | float = 0.1591  # r
  read_slope: jax.Array | float = -0.0078
  read_offset: jax.Array | float = 0.0038
  read_min: jax.Array | float = 0.0179
  read_max: jax.Array | float = 0.04
  read_q0: jax.Array | float = 0.0088
  read_q1: jax.Array | float = 0.0768
  read_q2: jax.Array | float = -0.1352
  read_q3: jax.Array | float = 0.0664
  t_read_s: jax.Array | float = 512e-9  # s, duration of a read
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


def pair_params(**changes: jax.Array | float) -> HermesParams:
  """Returns the parameters of two devices per polarity, with these changes.

  The SET law is that of one cell scaled to the range of the pair, as if both
  devices were pulsed alike: assumed, like that law itself.
  """
  pair = HermesParams(
      g_max_uS=20.7, program_range_uS=20.7, program_p0_uS=0.16603222,
      program_p1_uS=4.71806468, program_p2_uS=-8.48101252,
      program_p3_uS=4.68961419, nu_std_break=0.3055, nu_std_slope=-0.0117,
      nu_std_offset=-0.0057, nu_std_min=0.0091, nu_std_max=0.04,
      nu_std_q0=0.0073, nu_std_q1=0.0093, nu_std_q2=-0.0118, t0_s=300.0,
      read_break=0.16, read_slope=-0.0117, read_offset=-0.0069,
      read_min=0.015, read_max=0.04, read_q0=0.0123, read_q1=0.0211,
      read_q2=-0.0280, read_q3=0.0069)
  return pair._replace(**changes)


def make(
    params: HermesParams = HermesParams(), *, max_pulses: int = 20,
    mean_scale: common.MeanScale = None
) -> types.Device:
  """Returns the device of the 14 nm chip, see `ibm_statistical.make`.

  Args:
    params: scalars; `pair_params()` for two devices per polarity.
    max_pulses: most SET pulses in one call of `pulse`, static.
    mean_scale: see `ibm_statistical.make`.

  Returns:
    A `types.Device`.
  """
  return ibm_statistical.make(params, curves(params), max_pulses=max_pulses,
                              mean_scale=mean_scale)


def curves(params: HermesParams) -> ibm_statistical.Curves:
  """Returns the curves that these parameters define, see the file's head."""
  p = params

  def program_sigma_uS(r):
    at_range = _polynomial(r, p.program_p0_uS, p.program_p1_uS,
                           p.program_p2_uS, p.program_p3_uS)
    return at_range * p.g_max_uS / p.program_range_uS

  def nu_mean(r):
    low = quantization.saturate(p.nu_mean_slope * jnp.log(r) + p.nu_mean_offset,
                                p.nu_mean_min, p.nu_mean_max)
    high = _polynomial(r, p.nu_mean_q0, p.nu_mean_q1, p.nu_mean_q2)
    return jnp.where(r < p.nu_mean_break, low, high)

  def nu_std(r):
    low = quantization.saturate(p.nu_std_slope * jnp.log(r) + p.nu_std_offset,
                                p.nu_std_min, p.nu_std_max)
    high = _polynomial(r, p.nu_std_q0, p.nu_std_q1, p.nu_std_q2)
    return jnp.where(r < p.nu_std_break, low, _positive(high))

  def read_q(r):
    low = quantization.saturate(p.read_slope * jnp.log(r) + p.read_offset,
                                p.read_min, p.read_max)
    high = _polynomial(r, p.read_q0, p.read_q1, p.read_q2, p.read_q3)
    return jnp.where(r < p.read_break, low, _positive(high))

  return ibm_statistical.Curves(program_sigma_uS, nu_mean, nu_std, read_q)


def _polynomial(r, *coefficients):
  """Returns sum_k c_k r^k."""
  value = jnp.zeros_like(r)
  for coefficient in reversed(coefficients):
    value = value * r + coefficient
  return value


def _positive(x):
  """Returns max(x, 0) with no gradient below 0."""
  return quantization.saturate(x, 0.0, jnp.inf)
