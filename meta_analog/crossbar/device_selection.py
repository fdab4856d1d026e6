"""Round-robin selection of the device that is pulsed.

A weight has D devices per polarity, read in parallel. Pulses go to one device
after the other, continued over all events: every synapse and polarity has a
counter c of the next device. Of n pulses device d gets

    n_d  =  max(0, ceil((n - ((d - c) mod D)) / D)),    c  <-  (c + n) mod D

so that after any number of events the pulses of two devices of a group differ
by at most one. The counter belongs to the synapse, as in Demirag et al., 2021
(arXiv:2108.01804). Boybat et al., 2018 (doi:10.1038/s41467-018-04933-y) share
one counter in a whole array, which saves memory where updates come one pulse at
a time; here an event writes trains of different lengths together, and a shared
counter would pulse and saturate the devices of a synapse unevenly.

Axes: P polarity (plus, minus), D device, I in, O out.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import quantization


def positive(n: jax.Array) -> jax.Array:
  """Returns max(n, 0), differentiated as n / 2 at 0: half to each polarity."""
  return jnp.where(n == 0, 0.5 * n, jax.nn.relu(n))


def spread(
    num_pulses: jax.Array, num_devices: int, counter: jax.Array
) -> jax.Array:
  """Returns how many of n pulses each of D devices gets.

  The gradient is divided equally.

  Args:
    num_pulses: [P, I, O], non-negative whole numbers.
    num_devices: D.
    counter: [P, I, O], the first device to be pulsed, 0 .. D - 1.

  Returns:
    [P, D, I, O], whole numbers that sum to num_pulses over D.
  """
  device = jnp.arange(num_devices, dtype=jnp.float32)[None, :, None, None]
  counter = jax.lax.stop_gradient(counter)[:, None]
  order = jnp.mod(device - counter, num_devices)
  shared = num_pulses[:, None] / num_devices
  whole = jnp.ceil((jax.lax.stop_gradient(num_pulses)[:, None] - order)
                   / num_devices)
  return quantization.straight_through(jnp.maximum(whole, 0.0),
                                       shared + 0 * whole)


def pulses_per_device(
    num_pulses: jax.Array, num_devices: int, counter: jax.Array
) -> jax.Array:
  """Returns signed counts [I, O] as counts for each device [P, D, I, O]."""
  signed = jnp.stack([positive(num_pulses), positive(-num_pulses)])
  return spread(signed, num_devices, counter)


def advance(counter: jax.Array, pulses: jax.Array) -> jax.Array:
  """Returns the counters [P, I, O] after pulses [P, D, I, O]."""
  given = jnp.sum(jax.lax.stop_gradient(pulses), axis=1)
  return jnp.mod(counter + given, pulses.shape[1])
