"""Slow part of the read noise, which reads that are close in time share.

Read noise has a 1/f spectrum between 1 / t, t the age of the array, and
1 / t_read, t_read the duration of a read. Of its variance, two reads tau apart
share

    ln(t / tau) / ln(t / t_read),    t_read < tau < t

Here the periods above `EDGES_S[0]` are a sum of parts, one for each decade and
one for all above the last edge. Each part is a Gaussian process with
correlation exp(-tau / tau_k), in every device its own:

    share of part k      ln of its decade, as far as t reaches, / ln(t / t_read)
    tau_k                e^gamma (its centre), gamma Euler's constant

with which the sum follows the logarithm above to 0.02 of the variance. The last
part stays as it is. Shorter periods are new in every read.

Sources: the variance ln(t / t_read) of 1/f noise, the integral of its spectrum,
as in Joshi et al., 2020 (doi:10.1038/s41467-020-16108-9); 1/f noise as a sum of
processes with log-uniform correlation times, van der Ziel, 1950 (Physica 16,
359).

Axes: K part, P polarity (plus, minus), D device, I in (bias included), O out.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import gaussian

READ_S = 250e-9  # duration of a read
EDGES_S = (0.1, 1.0, 10.0, 100.0, 1000.0)  # periods at which parts begin
# Correlation times of all parts but the last.
TIMES_S = tuple(
    math.exp(np.euler_gamma) * math.sqrt(low * high)
    for low, high in zip(EDGES_S, EDGES_S[1:]))


class State(NamedTuple):
  """Slow read noise of one crossbar."""

  parts: jax.Array  # [K, P, D, I, O], standard normal, as last drawn
  since_s: jax.Array  # scalar, time since that draw
  age_s: jax.Array  # scalar, of the array now


def start(key: jax.Array, shape: tuple[int, ...]) -> State:
  """Returns the noise of new devices.

  Args:
    key: consumed.
    shape: of the devices, (P, D, I, O).
  """
  zero = jnp.float32(0.0)
  return State(gaussian.normal(key, (len(EDGES_S), *shape)), zero, zero)


def advance(state: State, elapsed_s: jax.Array) -> State:
  """Returns the state elapsed_s later; nothing is drawn."""
  return State(state.parts, state.since_s + elapsed_s, state.age_s + elapsed_s)


def draw(key: jax.Array, state: State) -> State:
  """Returns the state with its noise drawn for a read now.

      z_k <- r_k z_k + (1 - r_k^2)^(1/2) n_k,   r_k = exp(-tau / tau_k)

  with tau the time since the last draw.

  Args:
    key: consumed.
    state: see `State`.

  Returns:
    New `State`.
  """
  rates = state.since_s / jnp.asarray(TIMES_S, jnp.float32)
  column = lambda x: x.reshape(-1, *(1,) * (state.parts.ndim - 1))
  kept, last = state.parts[:-1], state.parts[-1:]
  moved = (column(jnp.exp(-rates)) * kept
           + column(jnp.sqrt(-jnp.expm1(-2.0 * rates)))
           * gaussian.normal(key, kept.shape))
  return state._replace(
      parts=jax.lax.stop_gradient(jnp.concatenate([moved, last])),
      since_s=jnp.zeros_like(state.since_s))


def add(
    state: State | None, mean_uS: jax.Array, sigma_uS: jax.Array,
    fresh_share: jax.Array | float
) -> tuple[jax.Array, jax.Array | float, jax.Array | float]:
  """Returns what a read adds its own draws to, and the shares of these.

  Args:
    state: from `draw`; None adds nothing.
    mean_uS: [P, D, I, O], mean of the read.
    sigma_uS: likewise, its standard deviation.
    fresh_share: of the variance, new in every product; as much of it as the
      slow noise leaves.

  Returns:
    Conductances [P, D, I, O] with the slow noise; the share of the variance
    that is frozen in the read and not slow; the share that is fresh.
  """
  if state is None:
    return mean_uS, 1.0 - fresh_share, fresh_share
  each = shares(state.age_s)
  slow = jnp.sum(each)
  fresh = jnp.minimum(fresh_share, 1.0 - slow)
  factors = jnp.sqrt(each).reshape(-1, *(1,) * (state.parts.ndim - 1))
  noise = jnp.sum(factors * state.parts, axis=0)
  # Not below 0 by rounding.
  return mean_uS + sigma_uS * noise, jnp.maximum(
      1.0 - slow - fresh, 0.0), fresh


def shares(age_s: jax.Array) -> jax.Array:
  """Returns the share of every part in the variance of a read, [K].

  Args:
    age_s: scalar, of the array at the read; below `EDGES_S[0]` all are 0.
  """
  age_s = jnp.maximum(age_s, EDGES_S[0])
  edges = jnp.log(jnp.asarray((*EDGES_S, jnp.inf), jnp.float32))
  reached = jnp.clip(jnp.log(age_s), edges[:-1], edges[1:])
  return (reached - edges[:-1]) / jnp.log(age_s / READ_S)
