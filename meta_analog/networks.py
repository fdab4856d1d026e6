"""The only file that imports Haiku: parameters, one key, hk.transform.

Two small modules, `CrossbarLinear` and `LIFCore`, are sockets over the pure
functions for a Haiku net of your own. `make` joins a learner with its
meta-parameters into the transforms that the launcher trains through.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import conductances
from meta_analog import crossbar as xbar
from meta_analog import gaussian
from meta_analog import in_turn
from meta_analog import lif
from meta_analog import losses
from meta_analog import maml
from meta_analog import presentation
from meta_analog import rules

Params = hk.Params  # a pytree of arrays by module and name


class CrossbarLinear(hk.Module):
  """A linear layer with a bias whose weights are read from a crossbar.

  Parameters: 'u' [I + 1, O] and 'log_gain', see `crossbar`. Every call
  programs the devices at time 0 and reads them at `time_s`, with fresh noise;
  call it once per forward pass and unroll over time outside.
  """

  def __init__(
      self,
      num_outputs: int,
      device: base.Device,
      model: base.Device,
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
    targets_uS = conductances.targets_from_parameters(
        layer.u, self._span_uS, self._floor_uS, self._num_devices)
    key_program, key_read, key_fresh = jax.random.split(hk.next_rng_key(), 3)
    state = xbar.program(key_program, self._device, self._model, targets_uS,
                         jnp.exp(layer.log_gain), jnp.float32(0.0))
    reading = xbar.read(
        key_read, self._device, state, jnp.float32(time_s), self._fresh_share)
    mean, deviation = xbar.product(inputs, reading)
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


class InitialValues(NamedTuple):
  """Where meta-training starts."""

  weight_std: tuple[float, ...]  # deviation of each layer's weights
  weight_max: tuple[float, ...]  # weight of each layer's full span
  rate: float
  threshold: float
  penalty: float
  harm: float


def layer_params(
    num_inputs: int, num_outputs: int, weight_std: float, weight_max: float,
    span_uS: float
) -> presentation.LayerParams:
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
    return conductances.parameters_from_weights(
        weights, weight_max / span_uS, span_uS, 1)

  log_gain = jnp.log(jnp.float32(weight_max / span_uS))
  return presentation.LayerParams(
      u=hk.get_parameter('u', (num_inputs + 1, num_outputs), init=initial_u),
      log_gain=hk.get_parameter(
          'log_gain', (), init=lambda *_: log_gain))


class MetaParameters(hk.Module):
  """All meta-parameters, as the pure core's `Theta`."""

  def __init__(
      self, shapes: tuple[tuple[int, int], ...],
      network: presentation.Network, initial: InitialValues, name: str = 'meta'
  ):
    """Fixes the shapes.

    Args:
      shapes: inputs, without the bias, and outputs of each crossbar.
      network: for its span and device numbers.
      initial: where meta-training starts.
      name: of the module.
    """
    super().__init__(name=name)
    self._shapes, self._network, self._initial = shapes, network, initial

  def __call__(self) -> rules.Theta:
    """Returns `Theta`, its leaves Haiku parameters."""
    layers = []
    for i, (num_inputs, num_outputs) in enumerate(self._shapes):
      with hk.experimental.name_scope(f'layer_{i}'):
        span_uS = self._network.span_uS * self._network.num_devices[i]
        layers.append(layer_params(
            num_inputs, num_outputs, self._initial.weight_std[i],
            self._initial.weight_max[i], span_uS))

    def log_parameter(name, shape, value):
      return hk.get_parameter(
          f'log_{name}', shape, init=hk.initializers.Constant(jnp.log(value)))

    num_layers = (len(layers),)
    rule = rules.RuleParams(
        log_rate=log_parameter('rate', num_layers, self._initial.rate),
        log_threshold=log_parameter(
            'threshold', num_layers, self._initial.threshold),
        log_penalty=log_parameter('penalty', (), self._initial.penalty),
        log_harm=log_parameter('harm', (), self._initial.harm))
    return rules.Theta(tuple(layers), rule)


class Networks(NamedTuple):
  """What the launcher trains and tests through.

  Attributes:
    loss: hk.transform of `(episodes, noise_scale) -> (scalar, info)` for the
      tasks of one chip; the key programs the chip and feeds its noise.
    evaluate: hk.transform of `(episodes, noise_scale) -> predictions`, see
      `maml.evaluate`.
    theta: hk.transform of `() -> Theta`; its `init` returns what that of
      `loss` does, without the cost of compiling a loss.
  """

  loss: hk.Transformed
  evaluate: hk.Transformed
  theta: hk.Transformed


def make(
    make_learner: Callable[..., base.Learner],
    parameters: Callable[[], MetaParameters],
    schedule: maml.Schedule,
    loss_fn: maml.LossFn,
    *,
    num_events: int,
    rate_band_Hz: tuple[float, float],
    rate_penalty: float,
    tasks_at_once: int,
    before_s: float,
    after_s: tuple[float, ...],
    bounds_uS: tuple[float, float],
    adapt_anew: bool = False,
) -> Networks:
  """Returns the transforms; every draw comes from one `hk.next_rng_key()`.

  Args:
    make_learner: `(noise_scale, testing, later_s) -> Learner` over `Theta`;
      the last is how much later than trained for predictions are wanted.
    parameters: makes the parameter module inside a transform.
    schedule: times of the deployment.
    loss_fn: query loss.
    num_events: adaptation events per task.
    rate_band_Hz: firing rates that cost nothing.
    rate_penalty: weight of `losses.firing_rate_penalty`, of each task.
    tasks_at_once: tasks of a training's chip that are computed together;
      divides their number.
    before_s: time of the test before adaptation.
    after_s: times of the tests after it.
    bounds_uS: lowest and highest state of a device.
    adapt_anew: whether a test adapts chips anew before each date.

  Returns:
    `Networks`.
  """
  def scored(one_task, chip, item):
    task_loss, info = one_task(chip, item)
    rates_Hz, support = info['query']['rate_Hz'], info['support']
    penalty = sum(losses.firing_rate_penalty(rate, *rate_band_Hz)
                  for rate in rates_Hz)
    return task_loss + rate_penalty * penalty, {
        'support_loss': loss_fn(support['outputs'][0], item[1].support.y),
        'query_loss': task_loss,
        'rate_Hz': jnp.stack([jnp.mean(rate) for rate in rates_Hz]),
        'pulses_per_task': jnp.sum(support['write']['pulses']),
        'share_at_bound': losses.share_at_bound(
            [g_uS[-1] for g_uS in support['g_uS']], bounds_uS)}

  def loss(episodes, noise_scale):
    key, theta = hk.next_rng_key(), parameters()()
    learner = make_learner(noise_scale, testing=False)
    return maml.meta_loss(
        learner, key, theta, episodes, schedule, loss_fn,
        num_events=num_events,
        over_tasks=lambda one_task, chip, items: in_turn.mean(
            functools.partial(scored, one_task), chip, items,
            at_once=tasks_at_once))

  def evaluate(episodes, noise_scale) -> dict[str, Any]:
    key, theta = hk.next_rng_key(), parameters()()
    learner = make_learner(noise_scale, testing=True)
    anew_fn = lambda later_s: make_learner(
        noise_scale, testing=True, later_s=later_s)
    return maml.evaluate(
        learner, key, theta, episodes, schedule, jnp.float32(before_s),
        jnp.asarray(after_s, jnp.float32), num_events=num_events,
        anew_fn=anew_fn if adapt_anew else None)

  def theta() -> rules.Theta:
    if hk.running_init():  # A loss draws its own key before its parameters.
      hk.next_rng_key()
    return parameters()()

  return Networks(
      loss=hk.transform(loss),
      evaluate=hk.transform(evaluate),
      theta=hk.without_apply_rng(hk.transform(theta)))
