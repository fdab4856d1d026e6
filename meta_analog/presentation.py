"""One presentation: what the network gives for inputs, read from its arrays.

Inputs are constant currents, or what a code makes of them. Hidden layers are
LIF neurons, or rate-coded ones (`rate`), the first of them convolutions where a
network has windows; the output is a leaky integrator, averaged over time. Every
weight is read from a crossbar and every product passes the periphery.

Within one presentation a layer's currents over all time steps do not depend on
its own spikes, so layers are computed one after the other: one matrix product
over all time steps, then one time loop, see `fused`.

Axes: T time step, N sample, I in (without bias), H hidden, F feature (with
bias), O out, L layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import coding
from meta_analog import compensation as compensation_lib
from meta_analog import conductances
from meta_analog import convolution
from meta_analog import crossbar as xbar
from meta_analog import in_turn
from meta_analog import lif
from meta_analog import periphery as peri
from meta_analog import precise

# Without a limit, without a tile's end.
EXACT = peri.Periphery(
    dac_range=jnp.inf, adc_range=jnp.inf, tile_rows=2**30, tile_columns=2**30)


class LayerParams(NamedTuple):
  """Meta-parameters of one crossbar."""

  u: jax.Array  # [I + 1, O], unconstrained; the last row is the bias
  log_gain: jax.Array  # scalar, log of weight per uS


class Network(NamedTuple):
  """What is fixed about the network and its periphery.

  Attributes:
    activity_fn: (source of currents [T, N, H], neuron, weights [T, K]) ->
      `lif.Activity`.
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
      `population_code`.
    windows: of the first layers, which are convolutions; static.
    encode_fn: see `coding`; None where inputs are constant currents.
    spiking: whether activity is 0 or 1, static; False for `rate`, and right,
      if slower, for all.
  """

  activity_fn: Callable[[lif.Source, lif.Neuron, jax.Array], lif.Activity]
  neuron: lif.Neuron
  readout: jax.Array
  readout_start: int
  readout_decay: jax.Array
  dt_ms: float
  num_devices: tuple[int, ...]
  span_uS: jax.Array | float
  floor_uS: jax.Array | float
  fresh_share: jax.Array | float
  periphery: peri.Periphery
  compensation: compensation_lib.Compensation
  num_channels: int = 1
  windows: tuple[convolution.Window, ...] = ()
  encode_fn: coding.EncodeFn | None = None
  spiking: bool = False


class Presentation(NamedTuple):
  """What the periphery sees of one presentation."""

  features: jax.Array  # [N, F], time-averaged; the last column is the bias
  currents: jax.Array  # [T, N, O], of the output layer
  outputs: jax.Array  # [N, O]
  # [H] of each hidden layer: spikes per second; of rate-coded neurons the mean
  # activity per time step, so that 1000 / dt is the most of either; of a
  # convolution, its channels over all positions.
  rate_Hz: tuple[jax.Array, ...]


def present(
    key: jax.Array,
    network: Network,
    views: tuple[peri.View, ...],
    inputs: jax.Array,
) -> Presentation:
  """Returns what one presentation of the inputs gives.

  Convolutions present a few inputs at a time, see `in_turn`.

  Args:
    key: consumed by the part of the read noise that is fresh in every product.
    network: see `Network`.
    views: one per layer.
    inputs: [N, I], constant currents, or what `encode_fn` takes.

  Returns:
    A `Presentation`.
  """
  if network.windows:
    return _joined(in_turn.of_pieces(
        lambda key, fixed, piece: _all_at_once(key, *fixed, piece),
        key, (network, views), inputs))
  return _all_at_once(key, network, views, inputs)


def _joined(pieces):
  """Returns the presentation of all samples, of those of pieces, axis 0."""
  join = lambda x: x.reshape(-1, x.shape[-1])
  currents = jnp.moveaxis(pieces.currents, 1, 0)  # [T, piece, N, O]
  return Presentation(
      join(pieces.features), currents.reshape(len(currents), -1,
                                              currents.shape[-1]),
      join(pieces.outputs),
      jax.tree.map(lambda x: jnp.mean(x, axis=0), pieces.rate_Hz))


def _all_at_once(key, network, views, inputs):
  """Returns what `present` does."""
  coded = network.encode_fn is not None
  keys = jax.random.split(key, len(views) + coded)
  num_steps = network.readout.shape[0]
  # What is summed over time: the output's share of a spike, and every spike.
  weights = jnp.stack([network.readout, jnp.ones_like(network.readout)], axis=1)
  code = population_code(inputs, network.num_channels)
  activity, rates = peri.drive(network.periphery, code), []
  if coded:
    activity = network.encode_fn(keys[len(views)], activity, num_steps)
  for i, view in enumerate(views[:-1]):
    window = network.windows[i] if i < len(network.windows) else None
    if window is not None:
      activity = convolution.unfold(activity, window)
    source = peri.source(
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
  currents = peri.product(
      keys[len(views) - 1], network.periphery, views[-1], activity, num_steps,
      spikes=network.spiking)
  outputs = precise.einsum('t,tno->no', network.readout, currents)
  return Presentation(features, currents, outputs, tuple(rates))


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


def look(
    reading: xbar.Reading, columns: peri.Columns, gain_per_uS: jax.Array,
    network: Network, num_devices: int, factor: jax.Array | float = 1.0
) -> peri.View:
  """Returns the view of one layer.

  Args:
    reading: of its crossbar.
    columns: of its periphery.
    gain_per_uS: weight per uS.
    network: for its span.
    num_devices: devices per polarity of this layer.
    factor: of the drift compensation.

  Returns:
    A `periphery.View`.
  """
  weight_max = gain_per_uS * network.span_uS * num_devices
  return peri.View(reading, columns, weight_max, factor)


def exact_views(
    layers: tuple[LayerParams, ...], network: Network
) -> tuple[peri.View, ...]:
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
    weights = xbar.weights_from_targets(targets_uS, gain_per_uS)
    reading = xbar.Reading(weights, jnp.zeros_like(weights))
    columns = peri.perfect_columns(*weights.shape, EXACT.tile_rows)
    return look(reading, columns, gain_per_uS, network, num_devices)

  return tuple(map(exact, layers, targets(layers, network),
                   network.num_devices))


def targets(
    layers: tuple[LayerParams, ...], network: Network
) -> tuple[jax.Array, ...]:
  """Returns the target conductances of every layer, [P, D, I, O], uS."""
  return tuple(
      conductances.targets_from_parameters(
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
