"""Rate-coded neurons: graded activity in the place of spikes, no reset.

The same leaky integration of the same currents over the same time steps as in
`lif`, so an array is read as often, but what a neuron passes on at each step is
a number from 0 to 1 and not an event:

    v_t = a v_{t-1} + (1 - a) i_t
    u_t = max(v_t - v_th, 0)
    z_t = C(b u_t / (1 + b u_t))

Its derivative above threshold is that of the surrogate of a spike of the same
slope b (`lif.fast_sigmoid`, times b), so both train alike; C is the converter
that drives the rows of the next array.

Axes: T time step, K sum; `...` any.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from meta_analog.core import currents
from meta_analog.core import linalg
from meta_analog.networks import lif


def activity(
    source: currents.Source,
    neuron: lif.Neuron,
    weights: jax.Array,
    *,
    slope: float = 1.0,
    convert_fn: Callable[[jax.Array], jax.Array] = lambda z: z,
) -> currents.Activity:
  """Returns what a layer at rest does that is driven by a source.

  Has the contract of `lif.activity`; differentiable any number of times.

  Args:
    source: of currents [T, ...].
    neuron: parameters, scalars or arrays broadcastable to [...].
    weights: [T, K], of each time step in each sum.
    slope: b, activity per unit of potential just above threshold.
    convert_fn: C, elementwise.

  Returns:
    A `currents.Activity` whose 'spikes' are the graded activity.
  """
  v = lif.leaky_integrate(currents.currents(source), neuron.decay)
  drive = slope * jnp.maximum(v - neuron.threshold, 0.0)
  z = convert_fn(drive / (1.0 + drive))
  return currents.Activity(z, linalg.tensordot(weights.T, z, axes=1))
