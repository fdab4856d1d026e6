"""One presentation: what the network gives for inputs, read from its arrays.

Inputs are constant currents, or what a code makes of them. Hidden layers are
LIF neurons, or rate-coded ones (`rate_neurons`), the first of them
convolutions where a network has windows; the output is a leaky integrator,
averaged over time. Every weight is read from a crossbar and every product
passes the periphery.

Within one presentation a layer's currents over all time steps do not depend on
its own spikes, so layers are computed one after the other: one matrix product
over all time steps, then one time loop, see `lif_fused`.

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

# Without a limit, without a tile's end.
EXACT = periphery_lib.Periphery(
    dac_range=jnp.inf, adc_range=jnp.inf, tile_rows=2**30, tile_columns=2**30)


class LayerParams(NamedTuple):
  """Meta-parameters of one crossbar."""

  u: jax.Array  # [I + 1, O], unconstrained; the last row is the bias
  log_gain: jax.Array  # scalar, log of weight per uS


class Network(NamedTuple):
  """What is fixed about the network and its periphery.

  Attributes:
    activity_fn: (source of currents [T, N, H], neuron, weights [T, K]) ->
      `currents.Activity`.
    neuron: LIF parameters of the hidden layers.
    readout: [T], weight of each time step in the output, see
      `lif.readout_weights`.
    readout_start: first time step that they average, static.
    readout_decay: k of the output integrator.
    dt_ms: time step.
    num_devices: devices per polarity of each layer, static.
    span_uS: largest difference of a pair's targets.
    floor_uS: lowest target.
    fresh_share: share of the read noise that is new in every product.
    periphery: converters, columns, tiles, wires.
    compensation: of drift.
    num_channels: input currents of each number, static, see
      `encoding.population_code`.
    windows: of the first layers, which are convolutions; static.
    encode_fn: see `encoding`; None where inputs are constant currents.
    spiking: whether activity is 0 or 1, static; False for rate neurons, and
      right, if slower, for all.
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
  windows: tuple[convolution.Window, ...] = ()
  encode_fn: encoding.EncodeFn | None = None
  spiking: bool = False


class ForwardPass(NamedTuple):
  """What the periphery sees of one presentation."""

  features: jax.Array  # [N, F], time-averaged; the last column is the bias
  currents: jax.Array  # [T, N, O], of the output layer
  outputs: jax.Array  # [N, O]
  # [H] of each hidden layer: spikes per second; of rate-coded neurons the mean
  # activity per time step, so that 1000 / dt is the most of either; of a
  # convolution, its channels over all positions.
  rate_Hz: tuple[jax.Array, ...]


def forward(
    key: jax.Array,
    network: Network,
    views: tuple[matvec.LayerReading, ...],
    inputs: jax.Array,
) -> ForwardPass:
  """Returns what one presentation of the inputs gives.

  Convolutions present a few inputs at a time, see `batching`.

  Args:
    key: consumed by the part of the read noise that is fresh in every product.
    network: see `Network`.
    views: one per layer.
    inputs: [N, I], constant currents, or what `encode_fn` takes.

  Returns:
    A `ForwardPass`.
  """
  if network.windows:
    return _join(batching.microbatched(
        lambda key, fixed, piece: _forward_batch(key, *fixed, piece),
        key, (network, views), inputs))
  return _forward_batch(key, network, views, inputs)


def _join(pieces):
  """Returns the presentation of all samples, of those of pieces, axis 0."""
  join = lambda x: x.reshape(-1, x.shape[-1])
  currents = jnp.moveaxis(pieces.currents, 1, 0)  # [T, piece, N, O]
  return ForwardPass(
      join(pieces.features), currents.reshape(len(currents), -1,
                                              currents.shape[-1]),
      join(pieces.outputs),
      jax.tree.map(lambda x: jnp.mean(x, axis=0), pieces.rate_Hz))


def _forward_batch(key, network, views, inputs):
  """Returns what `forward` does."""
  coded = network.encode_fn is not None
  keys = jax.random.split(key, len(views) + coded)
  num_steps = network.readout.shape[0]
  # What is summed over time: the output's share of a spike, and every spike.
  weights = jnp.stack([network.readout, jnp.ones_like(network.readout)], axis=1)
  code = encoding.population_code(inputs, network.num_channels)
  activity, rates = periphery_lib.drive(network.periphery, code), []
  if coded:
    activity = network.encode_fn(keys[len(views)], activity, num_steps)
  for i, view in enumerate(views[:-1]):
    window = network.windows[i] if i < len(network.windows) else None
    if window is not None:
      activity = convolution.unfold(activity, window)
    source = matvec.source(
        keys[i], network.periphery, view, activity, num_steps,
        spikes=network.spiking and i > 0)
    activity, (average, count) = network.activity_fn(
        source, network.neuron, weights)
    if window is not None:
      activity, average = (
          convolution.fold(x, window) for x in (activity, average))
    rates.append(jnp.mean(count, axis=0) * (
        1000.0 / (num_steps * network.dt_ms)))
  features = with_bias(average, network.readout)
  currents = matvec.product(
      keys[len(views) - 1], network.periphery, views[-1], activity, num_steps,
      spikes=network.spiking)
  outputs = linalg.einsum('t,tno->no', network.readout, currents)
  return ForwardPass(features, currents, outputs, tuple(rates))


def layer_reading(reading: array.Reading,
                  columns: periphery_lib.Columns,
                  gain_per_uS: jax.Array,
                  network: Network,
                  num_devices: int,
                  factor: jax.Array | float = 1.0) -> matvec.LayerReading:
  """Returns the view of one layer.

  Args:
    reading: of its crossbar.
    columns: of its periphery.
    gain_per_uS: weight per uS.
    network: for its span.
    num_devices: devices per polarity of this layer.
    factor: of the drift compensation.

  Returns:
    A `matvec.LayerReading`.
  """
  weight_max = gain_per_uS * network.span_uS * num_devices
  return matvec.LayerReading(reading, columns, weight_max, factor)


def exact_readings(
    layers: tuple[LayerParams, ...], network: Network
) -> tuple[matvec.LayerReading, ...]:
  """Returns the weights that layers stand for, as if read without any error.

  For a presentation by a network whose periphery is `EXACT`.

  Args:
    layers: meta-parameters of each crossbar.
    network: for its span and device numbers.

  Returns:
    One view for each layer, with variance 0 and perfect columns.
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
  """Returns the target conductances of every layer, [P, D, I, O], uS."""
  return tuple(
      mapping.targets_from_parameters(
          layer.u, network.span_uS, network.floor_uS, num_devices)
      for layer, num_devices in zip(layers, network.num_devices))


def with_bias(average: jax.Array, readout: jax.Array) -> jax.Array:
  """Returns time-averaged spikes with the constant 1 of the bias beside them.

  Args:
    average: [N, H], sum_t c_t z_t.
    readout: [T], c.

  Returns:
    [N, H + 1].
  """
  bias = jnp.full((average.shape[0], 1), jnp.sum(readout), average.dtype)
  return jnp.concatenate([average, bias], axis=1)
