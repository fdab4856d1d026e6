"""From unconstrained parameters to target conductances, and back.

Devices only see targets in their range: a parameter u becomes the difference
tanh(u) span, its positive part on G+ and its negative part on G-, above the
lowest conductance.

Axes: P polarity (plus, minus), D device, I in (bias included, last), O out.
"""

import chex
import jax
import jax.numpy as jnp

from meta_analog.core import dtypes
from meta_analog.crossbar import device_selection


def targets_from_parameters(
    u: jax.Array, span_uS: jax.Array, floor_uS: jax.Array, num_devices: int
) -> jax.Array:
  """Returns target conductances of a layer's devices.

      G+ = floor + span max(tanh u, 0),   G- = floor + span max(-tanh u, 0)

  Any u is in range and G+ - G- = span tanh u has a gradient everywhere.

  Args:
    u: [I, O], unconstrained.
    span_uS: largest difference of a pair, below g_max - floor.
    floor_uS: lowest target.
    num_devices: D, devices per polarity; each gets the same target.

  Returns:
    [P, D, I, O], uS.
  """
  chex.assert_rank(u, 2)
  u, span_uS, floor_uS = dtypes.float32((u, span_uS, floor_uS))
  d = jnp.tanh(u)
  pair = floor_uS + span_uS * jnp.stack(
      [device_selection.positive(d), device_selection.positive(-d)])
  # The gradient of jnp.repeat would take 1.5 % of a training step.
  return jnp.stack([pair] * num_devices, axis=1)


def parameters_from_weights(
    weights: jax.Array, gain_per_uS: jax.Array, span_uS: jax.Array,
    num_devices: int
) -> jax.Array:
  """Returns u such that the targets of u carry these weights.

  The inverse of `targets_from_parameters` followed by
  `array.weights_from_targets`.
  A weight beyond the range is given the largest that fits.

  Args:
    weights: [I, O].
    gain_per_uS: weight per uS.
    span_uS: largest difference of a pair.
    num_devices: D.

  Returns:
    [I, O].
  """
  weights, gain_per_uS, span_uS = dtypes.float32(
      (weights, gain_per_uS, span_uS))
  d = weights / (gain_per_uS * span_uS * num_devices)
  return jnp.arctanh(jnp.clip(d, -0.999999, 0.999999))
