"""Input encodings of a spiking network: current, latency, rate, events.

    current   a constant current x
    latency   one spike, at step round((1 - x)(T - 1)): the larger x, the
              earlier; none where x is 0
    rate      a spike at each step with probability x
    events    recorded events: x holds all time steps, one after the other

Axes: T time step, N sample, I input, C channel.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from meta_analog.core import dtypes

# (key, inputs [N, .], num_steps) -> [T, N, I]
EncodeFn = Callable[[jax.Array, jax.Array, int], jax.Array]


def latency(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns one spike for each input above 0, the earlier the larger it is.

  Source: time-to-first-spike coding, Thorpe et al., 2001
  (doi:10.1016/S0893-6080(01)00083-1).

  Args:
    key: not used.
    inputs: [N, I], up to 1.
    num_steps: T.

  Returns:
    [T, N, I], 0 or 1; an input of 0 or less has no spike.
  """
  del key
  inputs = dtypes.float32(inputs)
  at = jnp.round((1.0 - inputs) * (num_steps - 1))
  at = jnp.where(inputs > 0, at, num_steps)
  step = jnp.arange(num_steps, dtype=inputs.dtype)[:, None, None]
  return (step == at[None]).astype(inputs.dtype)


def rate(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns spikes drawn at each time step with the input as probability.

  Args:
    key: consumed.
    inputs: [N, I], probabilities.
    num_steps: T.

  Returns:
    [T, N, I], 0 or 1, independent of each other.
  """
  inputs = dtypes.float32(inputs)
  draw = jax.random.uniform(key, (num_steps,) + inputs.shape, jnp.float32)
  return (draw < inputs[None]).astype(inputs.dtype)


def events(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns recorded events with their time steps as the leading axis.

  Args:
    key: not used.
    inputs: [N, T I], the time steps of a sample one after the other.
    num_steps: T.

  Returns:
    [T, N, I].
  """
  del key
  inputs = dtypes.float32(inputs)
  steps = inputs.reshape(inputs.shape[0], num_steps, -1)
  return jnp.swapaxes(steps, 0, 1)


# By name; None is a current, constant over time.
ENCODINGS: dict[str, EncodeFn | None] = {
    'current': None, 'latency': latency, 'rate': rate, 'events': events}


def population_code(inputs: jax.Array, num_channels: int) -> jax.Array:
  """Returns each input in [-1, 1] as currents in [0, 1] of several channels.

      a_c(x) = max(0, 1 - |x - m_c| / d),   m_c = -1 + c d,   d = 2 / (C - 1)

  Triangular tuning curves, of which at most two are active at a time and which
  sum to 1: a product with weights W interpolates between the rows of W. Source:
  tuning curves as in Georgopoulos et al., 1986
  (doi:10.1126/science.3749885), triangular instead of cosine.

  Args:
    inputs: [N, I].
    num_channels: C; 1 returns the inputs unchanged.

  Returns:
    [N, I C], the channels of an input beside each other.
  """
  inputs = dtypes.float32(inputs)
  if num_channels == 1:
    return inputs
  centres = jnp.linspace(-1.0, 1.0, num_channels, dtype=jnp.float32)
  distance = 0.5 * (num_channels - 1) * jnp.abs(
      inputs[:, :, None] - centres[None, None])
  return jax.nn.relu(1.0 - distance).reshape(inputs.shape[0], -1)
