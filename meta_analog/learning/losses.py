"""From outputs and rates to scalars."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the mean over samples of the squared error summed over outputs.

  Args:
    outputs: [N, O].
    targets: [N, O].

  Returns:
    Scalar.
  """
  chex.assert_equal_shape([outputs, targets])
  return jnp.mean(jnp.sum(jnp.square(outputs - targets), axis=-1))


def squared_error_all_steps(trace: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the squared error of every time step's output, averaged over time.

  This is the loss of the original code: it counts the first time steps, at
  which no spike can have arrived yet, and so has a floor.

  Args:
    trace: [T, N, O], the output at each time step.
    targets: [N, O].

  Returns:
    Scalar.
  """
  return jnp.mean(jax.vmap(squared_error, in_axes=(0, None))(trace, targets))


def accuracy_all_steps(trace: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the accuracy of every time step's output, averaged over time.

  Args:
    trace: [T, N, O], the output at each time step.
    targets: [N, O], one-hot.

  Returns:
    Scalar from 0 to 1.
  """
  return jnp.mean(jax.vmap(accuracy, in_axes=(0, None))(trace, targets))


def softmax_cross_entropy(
    outputs: jax.Array, targets: jax.Array, *, scale: float = 1.0
) -> jax.Array:
  """Returns the mean cross-entropy of softmax(scale outputs) against targets.

  Args:
    outputs: [N, O], logits.
    targets: [N, O], probabilities (one-hot for a class).
    scale: of the logits; outputs that are fitted to 0 and 1 need more than 1 to
      say anything for sure.

  Returns:
    Scalar, nats.
  """
  chex.assert_equal_shape([outputs, targets])
  logits = scale * outputs
  return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1))


def accuracy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the fraction of samples whose largest output is the target's.

  Args:
    outputs: [N, O], logits.
    targets: [N, O], one-hot.

  Returns:
    Scalar from 0 to 1.
  """
  hits = jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)
  return jnp.mean(hits.astype(outputs.dtype))


def firing_rate_penalty(
    rate_Hz: jax.Array, low_Hz: jax.Array, high_Hz: jax.Array
) -> jax.Array:
  """Returns the mean squared distance of the rates from a band, in (100 Hz)^2.

  A neuron inside [low_Hz, high_Hz] costs nothing. A silent one is pulled up,
  a frantic one down.

  Args:
    rate_Hz: [H], the mean rate of each neuron.
    low_Hz: lower edge of the band.
    high_Hz: upper edge of the band.

  Returns:
    Scalar.
  """
  outside = jax.nn.relu(low_Hz - rate_Hz) + jax.nn.relu(rate_Hz - high_Hz)
  return jnp.mean(jnp.square(outside / 100.0))


def share_at_bound(
    conductances: Sequence[jax.Array], bounds_uS: tuple[float, float]
) -> jax.Array:
  """Returns the share of all devices whose state is at a bound of its range.

  Args:
    conductances: arrays of any shapes, uS.
    bounds_uS: lowest and highest state.

  Returns:
    Scalar from 0 to 1.
  """
  low_uS, high_uS = bounds_uS
  stuck = sum(jnp.sum((g_uS <= low_uS) | (g_uS >= high_uS))
              for g_uS in conductances)
  return stuck / sum(g_uS.size for g_uS in conductances)
