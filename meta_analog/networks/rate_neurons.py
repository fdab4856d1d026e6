"""Rate neurons: leaky integrators with graded activity instead of spikes.

The currents are integrated over the same time steps as in `lif`, so an array is
read as often, but the output of a neuron at each step is a number from 0 to 1,
and there is no reset:

    v_t = a v_{t-1} + (1 - a) i_t
    u_t = max(v_t - v_th, 0)
    z_t = C(b u_t / (1 + b u_t))

Above threshold the derivative is b times that of the surrogate spike of slope b
(`lif.fast_sigmoid`), so both networks train alike. C is the digital-to-analog
converter that drives the rows of the next array.

Axes: T time step, K sum; `...` any.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from meta_analog.core import currents
from meta_analog.core import dtypes
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
  """Returns the activity of a layer that starts at rest, over time.

  Has the contract of `lif.activity`; differentiable any number of times.

  Args:
    source: of currents [T, ...].
    neuron: parameters, scalars or arrays broadcastable to [...].
    weights: [T, K], weight of each time step in each sum.
    slope: b, activity per unit of potential just above threshold.
    convert_fn: C, elementwise.

  Returns:
    A `currents.Activity` whose `spikes` are the graded activity.
  """
  neuron, weights = dtypes.float32((neuron, weights))
  v = lif.leaky_integrate(currents.currents(source), neuron.decay)
  drive = slope * jnp.maximum(v - neuron.threshold, 0.0)
  z = convert_fn(drive / (1.0 + drive))
  return currents.Activity(z, linalg.tensordot(weights.T, z, axes=1))
