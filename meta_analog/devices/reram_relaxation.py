"""Programming error of a ReRAM and what it becomes: fits of Wan et al.

    G(t) = max(0, G + sqrt(sigma(r, t)^2 - sigma(r, 1 s)^2) z),   r = g / g_max

with one z per device, so that the standard deviation from a target is sigma(r,
1 s) after programming and sigma(r, t) at t = 1 day and 2 days. Between these
times the variance is taken as linear in ln t; it stays as it is before the
first and after the last. Below 0.4 g_max the fit at 2 days is lower than that
at 1 day, by up to 0.06 uS, so the variance shrinks there a little.

The fits are functions of the target. Pulses have none: after them r is that of
the conductance that they left.

Source: Wan et al., 2022 (doi:10.1038/s41586-022-04992-8), as polynomials fitted
in aihwkit 1.1.0 (inference/noise/reram.py) at g_max = 40 uS. They are scaled
with g_max here, which the source means to do and does not.
"""

from typing import Any

import jax
import jax.numpy as jnp

# sigma(r) in uS at g_max = 40 uS: coefficients of r^0 to r^4 at each time.
SIGMA_RANGE_uS = 40.0
SIGMA_TIMES_S = (1.0, 86400.0, 172800.0)
SIGMA_uS = (
    (0.348, 16.030, -43.853, 45.393, -16.815),  # 1 s
    (0.701, 22.086, -50.773, 47.095, -16.458),  # 1 day
    (0.782, 20.274, -43.507, 37.062, -11.934),  # 2 days
)


def programming_std_uS(
    params: Any, g_uS: jax.Array, when: int
) -> jax.Array:
  """Returns the standard deviation from the target at SIGMA_TIMES_S[when], uS.

      sigma(r) = (c0 + c1 r + c2 r^2 + c3 r^3 + c4 r^4) g_max / 40 uS

  Source: Wan et al., 2022 (doi:10.1038/s41586-022-04992-8), as fitted in
  aihwkit 1.1.0. r = g / g_max is limited to [0, 1], where the fit was made.
  """
  r = jnp.clip(g_uS / params.g_max_uS, 0.0, 1.0)
  total = 0.0
  for coefficient in reversed(SIGMA_uS[when]):
    total = total * r + coefficient
  return total * params.g_max_uS / SIGMA_RANGE_uS


def relaxation_uS(
    params: Any, g_uS: jax.Array, age_s: jax.Array
) -> jax.Array:
  """Returns the standard deviation of relaxation since 1 s after programming.

      sqrt(sigma(r, t)^2 - sigma(r, 1 s)^2) relax_scale

  with a variance that is linear in ln t between the times of the fits.

  Args:
    params: scalars.
    g_uS: conductance.
    age_s: time since the last programming event, s.

  Returns:
    Standard deviation, uS; 0 up to an age of 1 s, constant from 2 days on.
  """
  start, day, two_days = (
      jnp.square(programming_std_uS(params, g_uS, when)) for when in range(3))
  first = jnp.maximum(day - start, 0.0)
  second = jnp.maximum(two_days - start, 0.0)
  log_age = jnp.log(jnp.clip(age_s, SIGMA_TIMES_S[0], SIGMA_TIMES_S[2]))
  log_s = [jnp.log(jnp.float32(time_s)) for time_s in SIGMA_TIMES_S]
  share = [jnp.clip((log_age - a) / (b - a), 0.0, 1.0)
           for a, b in zip(log_s[:-1], log_s[1:])]
  variance = share[0] * first + share[1] * (second - first)
  moved = variance > 0
  root = jnp.sqrt(jnp.where(moved, variance, 1.0))  # no infinite slope at 0
  return params.relax_scale * jnp.where(moved, root, 0.0)
