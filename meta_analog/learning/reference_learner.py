"""Reference learner: one scan over time, differentiated by jax.

The oracle of `learner.make` for tests and benchmarks: the same chip, rule, keys
and noise, without any of its optimisations.

    all layers advance together in one `jax.lax.scan` over time steps: product,
      noise, converter, neuron; the output is the mean of a leaky integrator
    the delta rule is the gradient of the support error through that scan with
      respect to all layers, of which the output layer's part is applied

Axes: T time step, N sample, I in (bias included, last), O out, K tile of rows.
"""

import functools

import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import linalg
from meta_analog.core import types
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.crossbar import read_noise
from meta_analog.learning import learner
from meta_analog.learning import meta_parameters
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.networks import encoding
from meta_analog.networks import lif
from meta_analog.networks import network as network_lib


def make(
    hardware: chip.Hardware, rule: update_rules.Rule, times: learner.Times, *,
    keep_trace: bool = False
) -> types.Learner:
  """Returns the reference learner.

  Args:
    hardware: see `learner.make`; its network has no convolutions and constant
      inputs.
    rule: see `learner.make`.
    times: see `learner.make`.
    keep_trace: see `learner.make`.

  Returns:
    A `types.Learner` with the results of `learner.make`.
  """
  by_gradient = rule.num_steps is not None and not rule.all_layers
  updates_fn = compute_updates if by_gradient else functools.partial(
      learner.compute_updates, forward)
  return learner.make(hardware, rule, times, keep_trace=keep_trace,
                      forward_fn=forward, updates_fn=updates_fn)


def compute_updates(
    key: jax.Array, network: network_lib.Network, rule: update_rules.Rule,
    readings: tuple[matvec.LayerReading, ...], support: types.Samples,
    params: meta_parameters.RuleParams
) -> tuple[network_lib.ForwardPass, dict[int, jax.Array]]:
  """Returns a forward pass, and the weight change of gradient steps.

      dW <- dW - rate d/dW sum |y - y(dW)|^2 / 2 N,   repeated num_steps times

  The change is accumulated in the digital periphery, behind the converters, and
  written at the end: column gains, wires and limits are not differentiated
  through where it enters. Every step is a new forward pass with the same read
  of the array.

  Args:
    key: consumed by the noise of the forward pass.
    network: see `network.Network`.
    rule: the delta rule of the output layer.
    readings: one per layer.
    support: x [N, I - 1], y [N, O].
    params: the rule's parameters.

  Returns:
    The first forward pass, and {last layer: weight change [I, O]}.
  """
  noise = draw_noise(key, network, readings, len(support.x))

  def loss(weights):
    hidden, change = weights
    replaced = [layer._replace(reading=layer.reading._replace(weights=w))
                for layer, w in zip(readings[:-1], hidden)]
    result = forward_with_noise(
        noise, network, (*replaced, readings[-1]), support.x, change)
    error = jnp.sum(jnp.square(support.y - result.outputs), axis=-1)
    return 0.5 * jnp.mean(error), result

  hidden = [layer.reading.weights for layer in readings[:-1]]
  change = jnp.zeros_like(readings[-1].reading.weights)
  results, rate = [], jnp.exp(params.log_rate[-1])
  for _ in range(rule.num_steps):
    (_, gradient), result = jax.grad(loss, has_aux=True)((hidden, change))
    change = change - rate * gradient
    results.append(result)
  return results[0], {len(readings) - 1: change}


def forward(
    key: jax.Array, network: network_lib.Network,
    readings: tuple[matvec.LayerReading, ...], inputs: jax.Array
) -> network_lib.ForwardPass:
  """Returns the forward pass of `network.forward`.

  Args:
    key: consumed by the fresh part of the read noise.
    network: see `network.Network`.
    readings: one per layer.
    inputs: [N, I - 1], constant over time.

  Returns:
    A `network.ForwardPass`.
  """
  return forward_with_noise(draw_noise(key, network, readings, len(inputs)),
                            network, readings, inputs)


def draw_noise(
    key: jax.Array, network: network_lib.Network,
    readings: tuple[matvec.LayerReading, ...], num_samples: int
) -> tuple[list[jax.Array], ...]:
  """Returns the standard normal draws of one forward pass.

  Args:
    key: consumed.
    network: see `network.Network`.
    readings: one per layer.
    num_samples: N.

  Returns:
    For each layer a list of its tiles, [T, N, O] each; empty where no read
    noise is fresh.
  """
  def draw(key, layer):
    num_tiles, num_outputs = layer.columns.gain.shape
    shape = (len(network.readout), num_samples, num_outputs)
    fresh = layer.reading.variance is not None
    return [gaussian.normal(jax.random.fold_in(key, k), shape)
            for k in range(fresh * num_tiles)]

  return tuple(map(draw, jax.random.split(key, len(readings)), readings))


def forward_with_noise(
    noise: tuple[list[jax.Array], ...], network: network_lib.Network,
    readings: tuple[matvec.LayerReading, ...], inputs: jax.Array,
    change: jax.Array | None = None
) -> network_lib.ForwardPass:
  """Returns the forward pass with given noise, see `forward`.

  Args:
    noise: see `draw_noise`.
    network: see `network.Network`; the keywords of its activity_fn are
      those of `lif.step`.
    readings: one per layer.
    inputs: [N, I - 1], constant over time.
    change: [I, O], digital change of the output layer's weights, behind the
      converters; None for none.

  Returns:
    A `network.ForwardPass`.
  """
  driven = periphery_lib.drive(network.periphery, encoding.population_code(
      inputs, network.num_channels))
  step_fn = functools.partial(
      lif.step, neuron=network.neuron,
      **{name: value for name, value in getattr(
          network.activity_fn, 'keywords', {}).items()
         if name in ('surrogate', 'reset')})
  decay, start = network.readout_decay, network.readout_start

  def body(carry, noise):
    states, output = carry
    x, new = with_bias(driven), []
    for state, layer, draws in zip(states, readings, noise):
      new.append(step_fn(state, product(draws, network.periphery, layer, x)))
      x = with_bias(new[-1].z)
    current = product(noise[-1], network.periphery, readings[-1], x)
    if change is not None:
      current += linalg.matmul(x, change)
    output = decay * output + (1.0 - decay) * current
    return (new, output), (output, current, [s.z for s in new])

  rest = [lif.initial_state((len(inputs), layer.columns.gain.shape[1]))
          for layer in readings]
  _, (outputs, currents, spikes) = jax.lax.scan(
      body, (rest[:-1], rest[-1].v), noise, length=len(network.readout))
  filtered = lif.leaky_integrate(with_bias(spikes[-1]), decay)
  average = lambda x: jnp.mean(x[start:], axis=0)
  rates = [jnp.mean(z, axis=(0, 1)) * (1000.0 / network.dt_ms) for z in spikes]
  return network_lib.ForwardPass(
      average(filtered), currents, average(outputs), tuple(rates))


def product(noise: list[jax.Array], periphery: periphery_lib.Periphery,
            layer: matvec.LayerReading, x: jax.Array) -> jax.Array:
  """Returns the digital outputs of one layer at one time step, [N, O].

  Args:
    noise: standard normal draws of each tile, [N, O], or empty.
    periphery: design.
    layer: its reading.
    x: [N, I], outputs of the digital-to-analog converter, with the 1 of the
      bias.

  Returns:
    [N, O], by the equations of `periphery`.
  """
  total = 0.0
  for k, (gain, offset) in enumerate(zip(*layer.columns)):
    rows = slice(k * periphery.tile_rows, (k + 1) * periphery.tile_rows)
    x_tile, weights = x[:, rows], layer.reading.weights[rows]
    y = linalg.matmul(x_tile, weights)
    if periphery.ir_drop:
      y -= periphery.ir_drop * _ir_drop(x_tile, weights, layer, periphery)
    if noise:
      variance = linalg.matmul(
          jnp.square(x_tile), layer.reading.variance[rows])
      y += read_noise.safe_sqrt(variance) * noise[k]
    reach = min(periphery.adc_range, float(len(weights)))
    total += periphery_lib.convert(
        gain[None] * y + offset[None],
        reach * periphery.dac_range * layer.weight_max, bits=periphery.adc_bits)
  return jnp.reshape(layer.factor, (1, -1)) * total


def _ir_drop(x, weights, layer, periphery):
  """Returns the part of a tile's product lost along its wires, see `matvec`."""
  num_rows = len(weights)
  row = jnp.arange(num_rows)[:, None] / num_rows
  largest = layer.weight_max * periphery.dac_range
  load = num_rows / matvec.WIRE_TO_CELL * (
      linalg.matmul(jnp.abs(x), jnp.abs(weights))) / largest
  far = weights * (1.0 - (1.0 - row) ** 2)
  return matvec.wire_loss(load) * linalg.matmul(x, far)


def with_bias(x: jax.Array) -> jax.Array:
  """Returns inputs [..., I - 1] with the constant 1 of the bias, [..., I]."""
  return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
