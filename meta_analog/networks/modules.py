"""Haiku modules over the pure functions: a crossbar layer and LIF neurons."""

import haiku as hk
import jax
import jax.numpy as jnp

from meta_analog.core import gaussian
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.networks import lif
from meta_analog.networks import network


class CrossbarLinear(hk.Module):
  """A linear layer with a bias whose weights are read from a crossbar.

  Parameters: 'u' [I + 1, O] and 'log_gain', see `crossbar`. Every call
  programs the devices at time 0 and reads them at `time_s`, with fresh noise;
  call it once per forward pass and unroll over time outside.
  """

  def __init__(
      self,
      num_outputs: int,
      device: types.Device,
      model: types.Device,
      *,
      span_uS: float = 10.0,
      floor_uS: float = 0.1,
      num_devices: int = 1,
      fresh_share: float = 0.0,
      weight_std: float = 1.0,
      weight_max: float = 3.0,
      name: str | None = None,
  ):
    """Sockets the functions of `crossbar`.

    Args:
      num_outputs: O.
      device: the memory technology.
      model: the same without noise.
      span_uS: largest difference of a pair's targets.
      floor_uS: lowest target.
      num_devices: devices per polarity.
      fresh_share: share of the read noise that is new in every product.
      weight_std: deviation of the initial weights.
      weight_max: weight of the full span at the initial gain.
      name: of the module.
    """
    super().__init__(name=name)
    self._num_outputs = num_outputs
    self._device, self._model = device, model
    self._span_uS, self._floor_uS = span_uS, floor_uS
    self._num_devices, self._fresh_share = num_devices, fresh_share
    self._weight_std, self._weight_max = weight_std, weight_max

  def __call__(self, inputs: jax.Array, time_s: float = 100.0) -> jax.Array:
    """Returns inputs @ W + b as read from the devices at `time_s`.

    Args:
      inputs: [N, I].
      time_s: chip time of the read, seconds after programming.

    Returns:
      [N, O].
    """
    layer = layer_params(
        inputs.shape[-1], self._num_outputs, self._weight_std,
        self._weight_max, self._span_uS * self._num_devices)
    targets_uS = mapping.targets_from_parameters(
        layer.u, self._span_uS, self._floor_uS, self._num_devices)
    key_program, key_read, key_fresh = jax.random.split(hk.next_rng_key(), 3)
    state = array.program(key_program, self._device, self._model, targets_uS,
                          jnp.exp(layer.log_gain), jnp.float32(0.0))
    reading = array.read(
        key_read, self._device, state, jnp.float32(time_s), self._fresh_share)
    mean, deviation = array.product(inputs, reading)
    return mean + deviation * gaussian.normal(key_fresh, mean.shape)


class LIFCore(hk.RNNCore):
  """A layer of LIF neurons as a recurrent core, see `lif.step`."""

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
  ):
    """Sockets `lif.step`; the arguments are its own."""
    super().__init__(name=name)
    self._num_neurons = num_neurons
    self._neuron = (tau_mem_ms, dt_ms, threshold)
    self._surrogate, self._reset = surrogate, reset

  def __call__(
      self, inputs: jax.Array, prev_state: lif.LIFState
  ) -> tuple[jax.Array, lif.LIFState]:
    """Returns the spikes of this step [N, H] and the next state."""
    tau_mem_ms, dt_ms, threshold = self._neuron
    neuron = lif.Neuron(lif.decay_from_tau(tau_mem_ms, dt_ms), threshold)
    state = lif.step(prev_state, inputs, neuron, surrogate=self._surrogate,
                     reset=self._reset)
    return state.z, state

  def initial_state(self, batch_size: int | None) -> lif.LIFState:
    """Returns neurons at rest, [N, H] or [H] when batch_size is None."""
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
    weight_std: deviation of the initial weights, bias included.
    weight_max: weight of the full span at the initial gain.
    span_uS: that span, summed over the devices of a polarity.

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
