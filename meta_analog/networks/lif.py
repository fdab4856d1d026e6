"""Leaky integrate-and-fire (LIF) neurons with surrogate gradients.

One layer of neurons with membrane potential v, threshold v_th, and spikes z:

    v_t = a v_{t-1} + (1 - a) i_t - reset,    a = exp(-dt / tau_mem)
    z_t = H(v_t - v_th)

The input current is in units of the potential that it would reach, so a
constant current fires the neuron when it exceeds v_th. The reset is applied one
step after the spike:

    soft   reset = v_th z_{t-1}           what exceeds the threshold is kept
    hard   v_{t-1} is replaced by 0 where z_{t-1} = 1
    none   reset = 0

H is differentiated as a surrogate, H'(u) := s'(u); the reset is differentiated
through z too. Source: Neftci, Mostafa & Zenke, 2019, eq. 4-8
(doi:10.1109/MSP.2019.2931595).

Axes: T time step, N sample, H neuron, K weighted sum; `...` any.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from meta_analog.core import currents as currents_lib
from meta_analog.core import dtypes
from meta_analog.core import linalg
from meta_analog.core import quantization

Surrogate = Callable[[jax.Array], jax.Array]


class Neuron(NamedTuple):
  """Parameters of a layer of neurons; scalars or [H], traced."""

  decay: jax.Array | float  # a, per time step
  threshold: jax.Array | float = 1.0  # v_th


class LIFState(NamedTuple):
  """State of a layer of neurons."""

  v: jax.Array  # [..., H], membrane potential
  z: jax.Array  # [..., H], spikes of the last step, 0 or 1


def fast_sigmoid(u: jax.Array, slope: float = 1.0) -> jax.Array:
  """Returns u / (1 + b |u|), whose derivative is 1 / (1 + b |u|)^2.

  Source: Zenke & Ganguli, 2018 (doi:10.1162/neco_a_01086).

  Args:
    u: potential minus threshold, any shape.
    slope: b.
  """
  return u / (1.0 + slope * jnp.abs(u))


def arctan(u: jax.Array, slope: float = 1.0) -> jax.Array:
  """Returns atan(b u) / b, whose derivative is 1 / (1 + (b u)^2).

  Source: Fang et al., 2021 (arXiv:2007.05785).

  Args:
    u: potential minus threshold, any shape.
    slope: b.
  """
  return jnp.arctan(slope * u) / slope


def triangle(u: jax.Array, slope: float = 1.0) -> jax.Array:
  """Returns the integral of max(0, 1 - b |u|), a triangular derivative.

  Source: Bellec et al., 2018 (arXiv:1803.09574).

  Args:
    u: potential minus threshold, any shape.
    slope: b.
  """
  inside = jnp.clip(u, -1.0 / slope, 1.0 / slope)
  return inside - 0.5 * slope * inside * jnp.abs(inside)


SURROGATES = {
    'fast_sigmoid': fast_sigmoid,
    'arctan': arctan,
    'triangle': triangle,
}
RESETS = ('soft', 'hard', 'none')


def decay_from_tau(tau_ms: float, dt_ms: float) -> jax.Array:
  """Returns exp(-dt / tau), the decay of a leaky integrator in one time step.

  Args:
    tau_ms: time constant, positive.
    dt_ms: time step, positive.

  Returns:
    Scalar in (0, 1).
  """
  return jnp.exp(-jnp.float32(dt_ms) / jnp.float32(tau_ms))


def spike(u: jax.Array, surrogate: Surrogate) -> jax.Array:
  """Returns the step function H(u), differentiated as `surrogate`.

  Args:
    u: potential minus threshold, any shape.
    surrogate: function whose derivative stands for H'.

  Returns:
    1 where u > 0, else 0, as floats.
  """
  u = dtypes.float32(u)
  return quantization.straight_through((u > 0).astype(u.dtype), surrogate(u))


def initial_state(shape: tuple[int, ...]) -> LIFState:
  """Returns neurons at rest: v = 0, no spike.

  Args:
    shape: of the state's arrays, usually [N, H].
  """
  return LIFState(v=jnp.zeros(shape, jnp.float32),
                  z=jnp.zeros(shape, jnp.float32))


def step(
    state: LIFState,
    current: jax.Array,
    neuron: Neuron,
    *,
    surrogate: Surrogate = fast_sigmoid,
    reset: str = 'soft',
) -> LIFState:
  """Returns the state one time step later, by the module's equations.

  Args:
    state: arrays [..., H].
    current: [..., H], in units of the potential it would reach.
    neuron: parameters.
    surrogate: function whose derivative stands for H'.
    reset: 'soft', 'hard' or 'none'.

  Returns:
    New state; `z` holds the spikes of this step.

  Raises:
    ValueError: if reset is unknown.
  """
  state, current, neuron = dtypes.float32((state, current, neuron))
  chex.assert_equal_shape([state.v, state.z, current])
  if reset not in RESETS:
    raise ValueError(f'reset = {reset!r}: must be one of {RESETS}')
  v = state.v * (1.0 - state.z) if reset == 'hard' else state.v
  decay = jnp.broadcast_to(neuron.decay, v.shape)
  threshold = jnp.broadcast_to(neuron.threshold, v.shape)
  v = decay * v + (1.0 - decay) * current
  if reset == 'soft':
    v = v - threshold * state.z
  return LIFState(v=v, z=spike(v - threshold, surrogate))


def unroll(
    currents: jax.Array,
    neuron: Neuron,
    *,
    surrogate: Surrogate = fast_sigmoid,
    reset: str = 'soft',
) -> jax.Array:
  """Returns the spikes of a layer that starts at rest, over time.

  A `jax.lax.scan` over `step`, differentiable any number of times. `lif_fused`
  is the fast form and is tested against this one.

  Args:
    currents: [T, ..., H], in units of the potential they would reach.
    neuron: parameters.
    surrogate: see `step`.
    reset: see `step`.

  Returns:
    Spikes, [T, ..., H], 0 or 1.

  Raises:
    ValueError: if reset is unknown.
  """
  def body(state, current):
    state = step(state, current, neuron, surrogate=surrogate, reset=reset)
    return state, state.z

  currents = dtypes.float32(currents)
  start = initial_state(currents.shape[1:])
  return jax.lax.scan(body, start, currents)[1]


def activity(
    source: currents_lib.Source,
    neuron: Neuron,
    weights: jax.Array,
    *,
    surrogate: Surrogate = fast_sigmoid,
    reset: str = 'soft',
) -> currents_lib.Activity:
  """Returns the spikes of a layer that starts at rest, and sums of them.

      sums_k = sum_t weights_tk z_t

  Args:
    source: of currents [T, ...].
    neuron: parameters.
    weights: [T, K], weight of each time step in each sum.
    surrogate: see `step`.
    reset: see `step`.

  Returns:
    A `currents.Activity`: spikes [T, ...], sums [K, ...].

  Raises:
    ValueError: if reset is unknown.
  """
  weights = dtypes.float32(weights)
  spikes = unroll(currents_lib.currents(source), neuron, surrogate=surrogate,
                  reset=reset)
  return currents_lib.Activity(spikes,
                               linalg.tensordot(weights.T, spikes, axes=1))


def leaky_integrate(currents: jax.Array, decay: jax.Array) -> jax.Array:
  """Returns the output of leaky integrators: y_t = k y_{t-1} + (1 - k) i_t.

  Args:
    currents: [T, ...].
    decay: k, scalar or broadcastable to [...].

  Returns:
    [T, ...], the output at each time step, from y = 0 before the first.
  """
  currents, decay = dtypes.float32((currents, decay))

  def body(y, current):
    y = decay * y + (1.0 - decay) * current
    return y, y

  return jax.lax.scan(body, jnp.zeros_like(currents[0]), currents)[1]


def readout_weights(
    num_steps: int, decay: jax.Array, *, start: int = 0
) -> jax.Array:
  """Returns weights c so that sum_t c_t i_t is the time-averaged leaky output.

  The mean of `leaky_integrate` over steps start .. T - 1 is linear in the
  currents. Summing the geometric series of each current's response gives

      c_t = (k^max(start - t, 0) - k^(T - t)) / (T - start),  t = 0 .. T - 1

  so a time-averaged output needs one product of filtered spikes, not T.

  Args:
    num_steps: T.
    decay: k, scalar.
    start: first step that is averaged, 0 <= start < T.

  Returns:
    [T].
  """
  decay = dtypes.float32(decay)
  t = jnp.arange(num_steps)
  early = jnp.maximum(start - t, 0).astype(jnp.float32)
  late = (num_steps - t).astype(jnp.float32)
  return (decay ** early - decay ** late) / (num_steps - start)
