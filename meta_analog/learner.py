"""The analog spiking network as a Learner: init, predict, update. Pure JAX.

Inputs are constant currents. Hidden layers are LIF neurons; the output is a
leaky integrator, averaged over time. Every weight is read from a crossbar.

Within one presentation a layer's currents over all time steps do not depend on
its own spikes, so layers are computed one after the other: one matrix product
over all time steps, then one time loop. Only the output layer is written by
default, so its features, time-averaged once per presentation, are all that the
inner loop needs.

Axes: T time step, N sample, I in (without bias), H hidden, F feature (with
bias), O out, L layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import crossbar as xbar
from meta_analog import lif
from meta_analog import rules


class LayerParams(NamedTuple):
  """Meta-parameters of one crossbar."""

  u: jax.Array  # [I + 1, O], unconstrained; the last row is the bias
  log_gain: jax.Array  # scalar, log of weight per uS


class Theta(NamedTuple):
  """Meta-parameters."""

  layers: tuple[LayerParams, ...]
  rule: rules.RuleParams


class Network(NamedTuple):
  """What is fixed about the network and its periphery.

  Attributes:
    unroll_fn: (currents [T, N, H], neuron) -> spikes [T, N, H].
    neuron: LIF parameters of the hidden layers.
    readout: [T], weight of each time step in the output, see
      `lif.readout_weights`.
    readout_decay: k of the output integrator.
    dt_ms: time step.
    num_devices: devices per polarity of each layer, static.
    span_uS: largest difference of a pair's targets.
    floor_uS: lowest target.
    fresh_share: share of the read noise that is new in every product.
    compensation: (age since programming, s) -> factor on every output of the
      arrays, the same for all tasks: a clock, no measurement.
  """

  unroll_fn: Callable[[jax.Array, lif.Neuron], jax.Array]
  neuron: lif.Neuron
  readout: jax.Array
  readout_decay: jax.Array
  dt_ms: float
  num_devices: tuple[int, ...]
  span_uS: jax.Array | float
  floor_uS: jax.Array | float
  fresh_share: jax.Array | float
  compensation: Callable[[jax.Array], jax.Array]


class Chip(NamedTuple):
  """A programmed chip and the settings of its digital periphery."""

  crossbars: tuple[xbar.Crossbar, ...]
  rule: rules.RuleParams


class Presentation(NamedTuple):
  """What the periphery sees of one presentation."""

  spikes: jax.Array  # [T, N, H], of the last hidden layer
  features: jax.Array  # [N, F], time-averaged; the last column is the bias
  outputs: jax.Array  # [N, O]
  rate_Hz: tuple[jax.Array, ...]  # [H] of each hidden layer


def make(
    device: base.Device,
    model: base.Device,
    network: Network,
    rule: rules.Rule,
    *,
    write_delay_s: float,
    reference_s: float,
    keep_trace: bool = False,
) -> base.Learner:
  """Returns the learner.

  Args:
    device: the memory technology.
    model: the same technology without noise.
    network: see `Network`.
    rule: see `rules.Rule`.
    write_delay_s: from the presentation of a support set to the write.
    reference_s: chip time that predictions are wanted for, after the last
      write; the controller's table is made for it.
    keep_trace: whether predict's info holds 'trace' [T, N, O], the output at
      every time step.

  Returns:
    A `base.Learner` over `Theta` and `Chip`.
  """
  def init(key, theta):
    keys = jax.random.split(key, len(theta.layers))
    program = lambda key, layer, num_devices: xbar.program(
        key, device, model,
        xbar.targets_from_parameters(
            layer.u, network.span_uS, network.floor_uS, num_devices),
        jnp.exp(layer.log_gain), jnp.float32(0.0))
    return Chip(
        crossbars=tuple(map(program, keys, theta.layers, network.num_devices)),
        rule=theta.rule)

  def read_all(key, chip, time_s):
    keys = jax.random.split(key, len(chip.crossbars))
    readings = tuple(
        xbar.read(key, device, crossbar, time_s, network.fresh_share)
        for key, crossbar in zip(keys, chip.crossbars))
    factor = network.compensation(time_s)
    return tuple(xbar.Reading(factor * r.weights, factor ** 2 * r.variance)
                 for r in readings)

  def predict(key, chip, inputs, time_s):
    key_read, key_run, key_trace = jax.random.split(key, 3)
    readings = read_all(key_read, chip, time_s)
    seen = present(key_run, network, readings, inputs)
    info = {'rate_Hz': seen.rate_Hz}
    if keep_trace:
      info['trace'] = trace_outputs(
          key_trace, network, readings[-1], seen.spikes)
    return seen.outputs, info

  def update(key, chip, support, time_s):
    key_read, key_run, key_write = jax.random.split(key, 3)
    readings = read_all(key_read, chip, time_s)
    seen = present(key_run, network, readings, support.x)
    fixed = jax.lax.stop_gradient if rule.first_order else lambda x: x
    features, error = fixed((seen.features, support.y - seen.outputs))
    written = (range(len(chip.crossbars)) if rule.all_layers
               else [len(chip.crossbars) - 1])
    if rule.all_layers:
      # The same presentation once more, and so the same noise.
      wanted = _all_layers_delta(
          jax.random.clone(key_run), network, fixed(readings), support,
          chip.rule)
    else:
      wanted = [rule.delta_fn(features, error, chip.rule)]
    write_s = time_s + write_delay_s
    crossbars, pulses = list(chip.crossbars), []
    for i, delta_w in zip(written, wanted):
      stairs = xbar.staircases(model, crossbars[i], rule.num_levels, write_s,
                               reference_s)
      factor = network.compensation(reference_s)
      num_pulses = rule.encode_fn(
          delta_w, factor * stairs, chip.rule, i, features, error)
      crossbars[i] = xbar.pulse(
          jax.random.fold_in(key_write, i), device, model, crossbars[i],
          num_pulses, write_s)
      pulses.append(num_pulses)
    info = {'rate_Hz': seen.rate_Hz, 'outputs': seen.outputs,
            'g_uS': tuple(c.devices.g_uS for c in crossbars),
            'write': _write_info(pulses, [network.num_devices[i]
                                          for i in written])}
    return chip._replace(crossbars=tuple(crossbars)), info

  return base.Learner(init, predict, update)


def present(
    key: jax.Array,
    network: Network,
    readings: tuple[xbar.Reading, ...],
    inputs: jax.Array,
) -> Presentation:
  """Returns what one presentation of the inputs gives.

  Args:
    key: consumed by the part of the read noise that is fresh in every product.
    network: see `Network`.
    readings: one per layer.
    inputs: [N, I], constant currents.

  Returns:
    A `Presentation`.
  """
  keys = jax.random.split(key, len(readings))
  num_steps = network.readout.shape[0]
  activity, rates = inputs, []
  for key_layer, reading in zip(keys[:-1], readings[:-1]):
    mean, deviation = xbar.product(activity, reading)
    shape = (num_steps,) + mean.shape[-2:]
    noise = jax.random.normal(key_layer, shape)
    currents = _steps(mean, num_steps) + _steps(deviation, num_steps) * noise
    activity = network.unroll_fn(currents, network.neuron)
    rates.append(jnp.mean(activity, axis=(0, 1)) * 1000.0 / network.dt_ms)
  features = time_average(activity, network.readout)
  power = time_average(activity, jnp.square(network.readout))
  mean = features @ readings[-1].weights
  deviation = xbar.safe_sqrt(power @ readings[-1].variance)
  outputs = mean + deviation * jax.random.normal(keys[-1], mean.shape)
  return Presentation(activity, features, outputs, tuple(rates))


def exact_readings(
    theta: Theta, network: Network
) -> tuple[xbar.Reading, ...]:
  """Returns the weights that theta stands for, as if read without any error.

  Args:
    theta: meta-parameters.
    network: for its span and device numbers.

  Returns:
    One `crossbar.Reading` for each layer, with variance 0.
  """
  def exact(layer, num_devices):
    targets_uS = xbar.targets_from_parameters(
        layer.u, network.span_uS, network.floor_uS, num_devices)
    weights = xbar.weights_from_targets(targets_uS, jnp.exp(layer.log_gain))
    return xbar.Reading(weights, jnp.zeros_like(weights))

  return tuple(map(exact, theta.layers, network.num_devices))


def time_average(spikes: jax.Array, readout: jax.Array) -> jax.Array:
  """Returns sum_t c_t z_t, with the constant 1 of the bias as last column.

  Args:
    spikes: [T, N, H].
    readout: [T], c.

  Returns:
    [N, H + 1].
  """
  features = jnp.einsum('t,tnh->nh', readout, spikes)
  bias = jnp.full((features.shape[0], 1), jnp.sum(readout), features.dtype)
  return jnp.concatenate([features, bias], axis=1)


def trace_outputs(
    key: jax.Array, network: Network, reading: xbar.Reading, spikes: jax.Array
) -> jax.Array:
  """Returns the output at every time step, [T, N, O], with its own noise."""
  mean, deviation = xbar.product(spikes, reading)
  currents = mean + deviation * jax.random.normal(key, mean.shape)
  return lif.leaky_integrate(currents, network.readout_decay)


def _all_layers_delta(key, network, readings, support, params):
  """Returns the delta rule of every layer: its rate times the gradient."""
  def loss(weights):
    seen = present(
        key, network,
        tuple(r._replace(weights=w) for r, w in zip(readings, weights)),
        support.x)
    residual = support.y - seen.outputs
    return 0.5 * jnp.mean(jnp.sum(jnp.square(residual), axis=-1))

  gradients = jax.grad(loss)([r.weights for r in readings])
  rates = jnp.exp(params.log_rate)
  return [-rates[i] * g for i, g in enumerate(gradients)]


def _write_info(pulses, num_devices):
  """Returns counts of one event: pulses, and devices that got any."""
  counts = [xbar.pulses_per_device(jax.lax.stop_gradient(n), d)
            for n, d in zip(pulses, num_devices)]
  return {'pulses': sum(jnp.sum(jnp.abs(c)) for c in counts),
          'devices': sum(jnp.sum((c != 0).astype(jnp.float32))
                         for c in counts)}


def _steps(array, num_steps):
  """Returns [T, N, H] from [T, N, H], or from [N, H] for a constant input."""
  return jnp.broadcast_to(array, (num_steps,) + array.shape[-2:])
