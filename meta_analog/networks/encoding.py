"""How inputs enter a spiking network.

    current   constant currents, x
    latency   one spike, the earlier the larger x: at step
              round((1 - x)(T - 1)); none where x is 0
    rate      a spike at each step with probability x
    events    as they come: x holds all time steps, one after the other

Axes: T time step, N sample, I input.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# (key, inputs [N, .], num_steps) -> [T, N, I]
EncodeFn = Callable[[jax.Array, jax.Array, int], jax.Array]


def latency(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns one spike of each input above 0, [T, N, I].

  Source: time to first spike, Thorpe et al., 2001
  (doi:10.1016/S0893-6080(01)00083-1).

  Args:
    key: not used.
    inputs: [N, I], up to 1.
    num_steps: T.
  """
  del key
  at = jnp.round((1.0 - inputs) * (num_steps - 1))
  at = jnp.where(inputs > 0, at, num_steps)
  step = jnp.arange(num_steps, dtype=inputs.dtype)[:, None, None]
  return (step == at[None]).astype(inputs.dtype)


def rate(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns spikes of a probability, [T, N, I].

  Args:
    key: consumed.
    inputs: [N, I], probabilities.
    num_steps: T.
  """
  draw = jax.random.uniform(key, (num_steps,) + inputs.shape)
  return (draw < inputs[None]).astype(inputs.dtype)


def events(key: jax.Array, inputs: jax.Array, num_steps: int) -> jax.Array:
  """Returns the inputs of each time step, [T, N, I].

  Args:
    key: not used.
    inputs: [N, T I].
    num_steps: T.
  """
  del key
  steps = inputs.reshape(inputs.shape[0], num_steps, -1)
  return jnp.swapaxes(steps, 0, 1)


# None: constant over time.
CODES: dict[str, EncodeFn | None] = {
    'current': None, 'latency': latency, 'rate': rate, 'events': events}


def population_code(inputs: jax.Array, num_channels: int) -> jax.Array:
  """Returns each number in [-1, 1] as several currents in [0, 1].

      a_c(x) = max(0, 1 - |x - m_c| / d),   m_c = -1 + c d,   d = 2 / (C - 1)

  Triangular tuning curves, of which at most two are active at a time and which
  sum to 1: a product with weights W interpolates between the rows of W. Source:
  tuning curves as in Georgopoulos et al., 1986
  (doi:10.1126/science.3749885), triangular instead of cosine.

  Args:
    inputs: [N, I].
    num_channels: C; 1 leaves the numbers as they are.

  Returns:
    [N, I C].
  """
  if num_channels == 1:
    return inputs
  middles = jnp.linspace(-1.0, 1.0, num_channels)
  distance = 0.5 * (num_channels - 1) * jnp.abs(
      inputs[:, :, None] - middles[None, None])
  return jax.nn.relu(1.0 - distance).reshape(inputs.shape[0], -1)
