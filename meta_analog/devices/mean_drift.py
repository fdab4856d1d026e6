"""Mean of a drift by a power law over a spread of exponents.

Devices of exponents nu = mu + s N(0, 1), cut or folded at 0, have drifted to

    E exp(-max(nu, 0) L)  =  h(mu) + Phi(-mu / s)
    E exp(-|nu| L)        =  h(mu) + h(-mu)

on average, L being the logarithm of the relative age, with

    h(mu)  =  E [exp(-nu L); nu > 0]
           =  exp(-mu L + s^2 L^2 / 2) Phi(mu / s - s L)

which is above exp(-mu L), the drift of a device of the mean exponent, by about
s^2 L^2 / 2 of it: the devices that drift least remain.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian

# Below it float32 sees no spread: s L < 1e-5 at any age.
MIN_STD = 1e-7


def cut(
    nu: jax.Array, std: jax.Array, log_age: jax.Array,
    lowest: jax.Array | float = 0.0
) -> jax.Array:
  """Returns E exp(-max(N(nu, std^2), lowest) log_age).

  Args:
    nu: mean exponent before it is cut.
    std: standard deviation of the exponents; where it is 0 the result is
      exp(-max(nu, lowest) log_age), bit for bit.
    log_age: L, of either sign.
    lowest: exponent.

  Returns:
    Remaining share of a conductance, shape of the arguments together.
  """
  spread, a, b = _relative(nu - lowest, std, log_age)
  mean = _above_zero(a, b) + gaussian.cdf(-a)
  return jnp.where(spread, jnp.exp(-lowest * log_age) * mean,
                   jnp.exp(-jnp.maximum(nu, lowest) * log_age))


def folded(nu: jax.Array, std: jax.Array, log_age: jax.Array) -> jax.Array:
  """Returns E exp(-|N(nu, std^2)| log_age).

  Args:
    nu: mean exponent before it is folded.
    std: standard deviation of the exponents; where it is 0 the result is
      exp(-|nu| log_age), bit for bit.
    log_age: L, of either sign.

  Returns:
    Remaining share of a conductance, shape of the arguments together.
  """
  spread, a, b = _relative(nu, std, log_age)
  mean = _above_zero(a, b) + _above_zero(-a, b)
  return jnp.where(spread, mean, jnp.exp(-jnp.abs(nu) * log_age))


def _relative(nu, std, log_age):
  """Returns where exponents spread, nu / std and std log_age."""
  std = jnp.asarray(std)
  spread = std > MIN_STD
  std = jnp.where(spread, std, 1.0)
  return spread, nu / std, std * log_age


def _above_zero(a, b):
  """Returns E [exp(-b N(a, 1)); N(a, 1) > 0], with no large intermediate."""
  near = a > b
  exponent = jnp.where(near, b * (0.5 * b - a), -0.5 * jnp.square(a))
  exponent = jnp.minimum(exponent, 80.0)  # e^88 is beyond float32
  # Of the two tails of exp(b (b / 2 - a)) Phi(a - b) each has its own form.
  tail = 0.5 * jax.scipy.special.erfcx(
      jnp.where(near, 0.0, (b - a) * 0.7071067811865476))
  return jnp.exp(exponent) * jnp.where(
      near, gaussian.cdf(a - b), tail)
