"""Forward pass of the network, with weights as they are read from crossbars.

Inputs are constant currents or encoded spikes (`encoding`). Hidden layers are
LIF neurons (`lif`) or rate neurons (`rate_neurons`), the first of them
convolutions where the network has some; the output is a leaky integrator,
averaged over time. Every weight is read from a crossbar, and every product
passes the converters and tiles of its periphery.

Connections are feed-forward, so layers are computed one after the other: one
matrix product over all time steps, then one time loop, see `lif_fused`.

Axes: T time step, N sample, I in (without bias), H hidden, F feature (with
bias), O out, L layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import batching
from meta_analog.core import currents as currents_lib
from meta_analog.core import linalg
from meta_analog.crossbar import array
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import mapping
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.networks import convolution
from meta_analog.networks import encoding
from meta_analog.networks import lif

# No converter limits or rounds, and a layer of any size is one tile.
EXACT = periphery_lib.Periphery(
    dac_range=jnp.inf, adc_range=jnp.inf, tile_rows=2**30, tile_columns=2**30)


class LayerParams(NamedTuple):
  """Meta-parameters of one crossbar."""

  u: jax.Array  # [I + 1, O], unconstrained; the last row is the bias
  log_gain: jax.Array  # scalar, log of weight per uS


class Network(NamedTuple):
  """Design of the network and its periphery.

  Attributes:
    activity_fn: dynamics of a hidden layer, (source of currents [T, N, H],
      neuron, weights [T, K]) -> `currents.Activity`.
    neuron: LIF parameters of the hidden layers.
    readout: [T], weight of each time step in the output, see
      `lif.readout_weights`.
    readout_start: first time step of the output's average, static.
    readout_decay: k of the output integrator.
    dt_ms: time step.
    num_devices: devices per polarity of each layer, static.
    span_uS: largest difference of a pair's targets.
    floor_uS: lowest target.
    fresh_share: share of the read noise that is new in every product.
    periphery: converters, columns, tiles, wires.
    compensation: of drift.
    num_channels: channels of each input, static, see
      `encoding.population_code`.
    conv_shapes: of the first layers, which are convolutions; static.
    encode_fn: see `encoding`; None where inputs are constant currents.
    spiking: whether all activity is 0 or 1, static. False is right, if slower,
      for any network.
  """

  activity_fn: Callable[[currents_lib.Source, lif.Neuron, jax.Array],
                        currents_lib.Activity]
  neuron: lif.Neuron
  readout: jax.Array
  readout_start: int
  readout_decay: jax.Array
  dt_ms: float
  num_devices: tuple[int, ...]
  span_uS: jax.Array | float
  floor_uS: jax.Array | float
  fresh_share: jax.Array | float
  periphery: periphery_lib.Periphery
  compensation: drift_compensation.Compensation
  num_channels: int = 1
  conv_shapes: tuple[convolution.ConvShape, ...] = ()
  encode_fn: encoding.EncodeFn | None = None
  spiking: bool = False


class ForwardPass(NamedTuple):
  """Results of one forward pass."""

  features: jax.Array  # [N, F], time-averaged; the last column is the bias
  currents: jax.Array  # [T, N, O], of the output layer
  outputs: jax.Array  # [N, O]
  # [H] of each hidden layer: mean spikes, or activity of rate neurons, per
  # second, at most 1000 / dt_ms; in a convolution H counts channels and
  # positions.
  rate_Hz: tuple[jax.Array, ...]


def forward(
    key: jax.Array,
    network: Network,
    readings: tuple[matvec.LayerReading, ...],
    inputs: jax.Array,
) -> ForwardPass:
  """Returns the forward pass of the inputs.

  A network with convolutions runs in microbatches, see `batching`.

  Args:
    key: consumed by the part of the read noise that is fresh in every product.
    network: see `Network`.
    readings: one per layer.
    inputs: [N, I], constant currents, or the inputs of `encode_fn`.

  Returns:
    A `ForwardPass`.
  """
  if network.conv_shapes:
    return _join(batching.microbatched(
        lambda key, fixed, microbatch: _forward_batch(key, *fixed, microbatch),
        key, (network, readings), inputs))
  return _forward_batch(key, network, readings, inputs)


def _join(microbatches):
  """Returns the forward pass of all samples, from those of microbatches."""
  join = lambda x: x.reshape(-1, x.shape[-1])
  currents = jnp.moveaxis(microbatches.currents, 1, 0)  # [T, C, n, O]
  return ForwardPass(
      features=join(microbatches.features),
      currents=currents.reshape(len(currents), -1, currents.shape[-1]),
      outputs=join(microbatches.outputs),
      rate_Hz=jax.tree.map(
          lambda x: jnp.mean(x, axis=0), microbatches.rate_Hz))


def _forward_batch(key, network, readings, inputs):
  """Returns the forward pass of one batch, see `forward`."""
  encoded = network.encode_fn is not None
  keys = jax.random.split(key, len(readings) + encoded)
  num_steps = network.readout.shape[0]
  # Two sums over time: spikes weighted as in the output, and their number.
  weights = jnp.stack([network.readout, jnp.ones_like(network.readout)], axis=1)
  channels = encoding.population_code(inputs, network.num_channels)
  activity, rates = periphery_lib.drive(network.periphery, channels), []
  if encoded:
    activity = network.encode_fn(keys[len(readings)], activity, num_steps)
  for i, layer in enumerate(readings[:-1]):
    shape = network.conv_shapes[i] if i < len(network.conv_shapes) else None
    if shape is not None:
      activity = convolution.im2col(activity, shape)
    source = matvec.source(
        keys[i], network.periphery, layer, activity, num_steps,
        spikes=network.spiking and i > 0)
    activity, (average, count) = network.activity_fn(
        source, network.neuron, weights)
    if shape is not None:
      activity, average = (
          convolution.to_images(x, shape) for x in (activity, average))
    rates.append(jnp.mean(count, axis=0) * (
        1000.0 / (num_steps * network.dt_ms)))
  features = with_bias(average, network.readout)
  currents = matvec.product(
      keys[len(readings) - 1], network.periphery, readings[-1], activity,
      num_steps, spikes=network.spiking)
  outputs = linalg.einsum('t,tno->no', network.readout, currents)
  return ForwardPass(features, currents, outputs, tuple(rates))


def layer_reading(
    reading: array.Reading,
    columns: periphery_lib.Columns,
    gain_per_uS: jax.Array,
    network: Network,
    num_devices: int,
    factor: jax.Array | float = 1.0,
) -> matvec.LayerReading:
  """Returns one layer as the forward pass reads it.

  Args:
    reading: of its crossbar, [I + 1, O].
    columns: of its periphery.
    gain_per_uS: scalar, weight per microsiemens.
    network: gives the span.
    num_devices: devices per polarity of this layer.
    factor: of the drift compensation, scalar or [O].

  Returns:
    A `matvec.LayerReading`.
  """
  weight_max = gain_per_uS * network.span_uS * num_devices
  return matvec.LayerReading(reading, columns, weight_max, factor)


def exact_readings(
    layers: tuple[LayerParams, ...], network: Network
) -> tuple[matvec.LayerReading, ...]:
  """Returns readings of the ideal weights, without any error.

  For the forward pass of a network whose periphery is `EXACT`.

  Args:
    layers: meta-parameters of each crossbar.
    network: gives span, floor and devices per polarity.

  Returns:
    One reading per layer, with variance 0 and perfect columns.
  """
  def exact(layer, targets_uS, num_devices):
    gain_per_uS = jnp.exp(layer.log_gain)
    weights = array.weights_from_targets(targets_uS, gain_per_uS)
    reading = array.Reading(weights, jnp.zeros_like(weights))
    columns = periphery_lib.perfect_columns(*weights.shape, EXACT.tile_rows)
    return layer_reading(reading, columns, gain_per_uS, network, num_devices)

  return tuple(map(exact, layers, targets(layers, network),
                   network.num_devices))


def targets(
    layers: tuple[LayerParams, ...], network: Network
) -> tuple[jax.Array, ...]:
  """Returns the target conductances of every layer.

  Args:
    layers: meta-parameters of each crossbar.
    network: gives span, floor and devices per polarity.

  Returns:
    For each layer [P, D, I + 1, O], microsiemens; P polarity, D device.
  """
  return tuple(
      mapping.targets_from_parameters(
          layer.u, network.span_uS, network.floor_uS, num_devices)
      for layer, num_devices in zip(layers, network.num_devices))


def with_bias(average: jax.Array, readout: jax.Array) -> jax.Array:
  """Returns features of the output layer: weighted spikes, and the bias.

  Args:
    average: [N, H], sum_t c_t z_t.
    readout: [T], c.

  Returns:
    [N, H + 1]; the last column is sum_t c_t, that of a constant input of 1.
  """
  bias = jnp.full((average.shape[0], 1), jnp.sum(readout), average.dtype)
  return jnp.concatenate([average, bias], axis=1)
