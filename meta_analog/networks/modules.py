"""Haiku modules: a linear layer on a crossbar, and a layer of LIF neurons.

The layer reads its array through the functions that meta-training uses
(`crossbar.array`, `crossbar.matvec`), converters, columns and tiles included.

Axes: N sample, T time step, I in (without bias), O out, H neuron, K tile of
rows, P polarity, D device.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery as periphery_lib
from meta_analog.networks import lif
from meta_analog.networks import network
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols


class ProgrammedLayer(NamedTuple):
  """One layer on one chip, as `CrossbarLinear.program` leaves it."""

  crossbar: array.Crossbar  # devices [P, D, I + 1, O]
  columns: periphery_lib.Columns  # gain and offset of each column, [K, O]


class CrossbarLinear(hk.Module):
  """A linear layer with bias whose weights are read from a crossbar.

  Programming and reading are two steps, so that one chip serves any number of
  forward passes:

      chip = layer.program()           once: devices, with their errors
      y = layer(x, chip, time_s)       any number of times: a forward pass

  A chip is a pytree without Haiku state: it may leave the transform and come
  back as an argument. Parameters: 'u' [I + 1, O], unconstrained, its last row
  the bias, and 'log_gain', log of weight per microsiemens; see
  `crossbar.mapping`.
  """

  def __init__(
      self,
      num_inputs: int,
      num_outputs: int,
      device: types.Device,
      model: types.Device,
      *,
      periphery: periphery_lib.Periphery = network.EXACT,
      program_fn: protocols.ProgramFn = initial_programming.statistical,
      span_uS: float = 10.0,
      floor_uS: float = 0.1,
      num_devices: int = 1,
      fresh_share: float = 0.0,
      weight_std: float = 1.0,
      weight_max: float = 3.0,
      name: str | None = None,
  ) -> None:
    """Fixes the layer's shape, its devices and its periphery.

    Args:
      num_inputs: I.
      num_outputs: O.
      device: the memory technology.
      model: the same technology without noise, for the controller.
      periphery: converters, columns, tiles and wires; exact by default.
      program_fn: how targets become devices.
      span_uS: largest difference of a pair's targets, microsiemens.
      floor_uS: lowest target, microsiemens.
      num_devices: devices per polarity, D.
      fresh_share: share of the read noise's variance that is new in every
        product, 0 to 1; the rest is frozen during one call.
      weight_std: standard deviation of the initial weights.
      weight_max: weight of the full span at the initial gain.
      name: of the module.
    """
    super().__init__(name=name)
    self._shape = num_inputs, num_outputs
    self._device, self._model = device, model
    self._periphery, self._program_fn = periphery, program_fn
    self._span_uS, self._floor_uS = span_uS, floor_uS
    self._num_devices, self._fresh_share = num_devices, fresh_share
    self._weight_std, self._weight_max = weight_std, weight_max

  def program(self) -> ProgrammedLayer:
    """Returns a fresh chip, programmed at time 0 from the parameters.

    Draws one key: another key is another chip. The gradient with respect to
    'u' and 'log_gain' passes through it.

    Returns:
      A `ProgrammedLayer`, a pytree of arrays.
    """
    layer = layer_params(*self._shape, self._weight_std, self._weight_max,
                         self._span_uS * self._num_devices)
    key_devices, key_columns = jax.random.split(hk.next_rng_key())
    gain_per_uS = jnp.exp(layer.log_gain)
    targets_uS = mapping.targets_from_parameters(
        layer.u, self._span_uS, self._floor_uS, self._num_devices)
    crossbar, _ = self._program_fn(
        key_devices, self._device, self._model, targets_uS, gain_per_uS)
    columns = periphery_lib.make_columns(
        key_columns, self._periphery, *layer.u.shape,
        self._full_weight(gain_per_uS))
    return ProgrammedLayer(crossbar, columns)

  def __call__(
      self, inputs: jax.Array, chip: ProgrammedLayer,
      time_s: jax.Array | float = 100.0
  ) -> jax.Array:
    """Returns inputs @ W + b of one forward pass, as the chip computes it.

    Draws one key for the read noise: no two calls share it.

    Args:
      inputs: [N, I], or [T, N, I] of one forward pass over T time steps.
      chip: see `program`.
      time_s: time of the read, seconds since programming; drift depends on it.

    Returns:
      [N, O], or [T, N, O].

    Raises:
      AssertionError: if the shape of inputs does not fit the layer.
    """
    chex.assert_rank(inputs, {2, 3})
    chex.assert_axis_dimension(inputs, -1, self._shape[0])
    key_read, key_fresh = jax.random.split(hk.next_rng_key())
    reading = array.read(key_read, self._device, chip.crossbar,
                         jnp.float32(time_s), self._fresh_share)
    layer = matvec.LayerReading(
        reading, chip.columns, self._full_weight(chip.crossbar.gain_per_uS),
        1.0)
    outputs = matvec.product(
        key_fresh, self._periphery, layer,
        periphery_lib.drive(self._periphery, inputs),
        len(inputs) if inputs.ndim == 3 else 1)
    return outputs if inputs.ndim == 3 else outputs[0]

  def _full_weight(self, gain_per_uS):
    """Returns the weight of the largest difference of a pair."""
    return gain_per_uS * self._span_uS * self._num_devices


class LIFCore(hk.RNNCore):
  """A layer of leaky integrate-and-fire neurons as a recurrent core.

  The equations are those of `lif.step`.
  """

  def __init__(
      self,
      num_neurons: int,
      *,
      tau_mem_ms: float = 10.0,
      dt_ms: float = 1.0,
      threshold: float = 1.0,
      surrogate: lif.Surrogate = lif.fast_sigmoid,
      reset: str = 'soft',
      name: str | None = None,
  ) -> None:
    """Fixes the neurons.

    Args:
      num_neurons: H.
      tau_mem_ms: time constant of the membrane, milliseconds.
      dt_ms: time step, milliseconds.
      threshold: potential above which a neuron spikes.
      surrogate: soft step whose derivative stands for that of a spike.
      reset: 'soft', 'hard' or 'none'.
      name: of the module.
    """
    super().__init__(name=name)
    self._num_neurons = num_neurons
    self._neuron = (tau_mem_ms, dt_ms, threshold)
    self._surrogate, self._reset = surrogate, reset

  def __call__(
      self, inputs: jax.Array, prev_state: lif.LIFState
  ) -> tuple[jax.Array, lif.LIFState]:
    """Returns the spikes of this step and the next state.

    Args:
      inputs: currents, [N, H] or [H].
      prev_state: see `initial_state`.

    Returns:
      Spikes, 0 or 1, of the shape of inputs, and the state.

    Raises:
      ValueError: if the reset is unknown.
    """
    tau_mem_ms, dt_ms, threshold = self._neuron
    neuron = lif.Neuron(lif.decay_from_tau(tau_mem_ms, dt_ms), threshold)
    state = lif.step(prev_state, inputs, neuron, surrogate=self._surrogate,
                     reset=self._reset)
    return state.z, state

  def initial_state(self, batch_size: int | None) -> lif.LIFState:
    """Returns neurons at rest.

    Args:
      batch_size: N, or None for a single sample.

    Returns:
      State arrays [N, H], or [H] for a single sample.
    """
    shape = (self._num_neurons,)
    return lif.initial_state(
        shape if batch_size is None else (batch_size,) + shape)


def layer_params(
    num_inputs: int, num_outputs: int, weight_std: float, weight_max: float,
    span_uS: float
) -> network.LayerParams:
  """Returns the Haiku parameters 'u' and 'log_gain' of one crossbar.

  Args:
    num_inputs: I, without the bias.
    num_outputs: O.
    weight_std: standard deviation of the initial weights, bias included.
    weight_max: weight of the full span at the initial gain.
    span_uS: that span, summed over the devices of a polarity, microsiemens.

  Returns:
    `LayerParams`.
  """
  def initial_u(shape, dtype):
    weights = weight_std * jax.random.normal(hk.next_rng_key(), shape, dtype)
    return mapping.parameters_from_weights(
        weights, weight_max / span_uS, span_uS, 1)

  log_gain = jnp.log(jnp.float32(weight_max / span_uS))
  return network.LayerParams(
      u=hk.get_parameter('u', (num_inputs + 1, num_outputs), init=initial_u),
      log_gain=hk.get_parameter(
          'log_gain', (), init=lambda *_: log_gain))
