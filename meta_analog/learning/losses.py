"""Loss functions, accuracy and penalties.

Axes: T time step, N sample, O output, H neuron.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from meta_analog.core import dtypes


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the mean over samples of the squared error summed over outputs.

  Args:
    outputs: [N, O].
    targets: [N, O].

  Returns:
    Scalar.
  """
  chex.assert_equal_shape([outputs, targets])
  outputs, targets = dtypes.float32((outputs, targets))
  return jnp.mean(jnp.sum(jnp.square(outputs - targets), axis=-1))


def squared_error_all_steps(trace: jax.Array, targets: jax.Array) -> jax.Array:
  """Returns the squared error of every time step's output, averaged over time.

  Source: the loss of the original code. It counts the first time steps, which
  no spike can have reached, and so cannot be 0.

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
    scale: of the logits, an inverse temperature; outputs that were fitted to 0
      and 1 need more than 1 for probabilities near 0 and 1.

  Returns:
    Scalar, nats.
  """
  chex.assert_equal_shape([outputs, targets])
  outputs, targets = dtypes.float32((outputs, targets))
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
  return jnp.mean(hits.astype(jnp.float32))


def firing_rate_penalty(
    rate_Hz: jax.Array, low_Hz: jax.Array, high_Hz: jax.Array
) -> jax.Array:
  """Returns the mean squared distance of firing rates from a band.

  It is 0 for a neuron inside [low_Hz, high_Hz].

  Args:
    rate_Hz: [H], the mean rate of each neuron.
    low_Hz: lower edge of the band.
    high_Hz: upper edge of the band.

  Returns:
    Scalar, in (100 Hz)^2.
  """
  outside = jax.nn.relu(low_Hz - rate_Hz) + jax.nn.relu(rate_Hz - high_Hz)
  return jnp.mean(jnp.square(outside / 100.0))


def share_at_bound(
    conductances: Sequence[jax.Array], bounds_uS: tuple[float, float]
) -> jax.Array:
  """Returns the fraction of devices whose conductance is at a bound.

  Args:
    conductances: arrays of any shapes, microsiemens.
    bounds_uS: lowest and highest conductance.

  Returns:
    Scalar from 0 to 1.
  """
  low_uS, high_uS = bounds_uS
  saturated = sum(jnp.sum((g_uS <= low_uS) | (g_uS >= high_uS))
                  for g_uS in conductances)
  return saturated.astype(jnp.float32) / sum(
      g_uS.size for g_uS in conductances)
