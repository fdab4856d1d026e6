"""Haiku transforms of the meta-loss and the meta-test, and their parameters.

Haiku keeps the parameters and hands out one key; all below is pure JAX.

Axes: B task of one chip, N sample, O output, D date, T time step, L layer.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import haiku as hk
import jax.numpy as jnp
import numpy as np

from meta_analog.core import batching
from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.learning import losses
from meta_analog.learning import maml
from meta_analog.learning import meta_parameters
from meta_analog.networks import modules
from meta_analog.networks import network as network_lib

Params = hk.Params  # a pytree of arrays by module and name


class InitialValues(NamedTuple):
  """Initial values of the meta-parameters."""

  weight_std: tuple[float, ...]  # standard deviation of each layer's weights
  weight_max: tuple[float, ...]  # weight of each layer's full span
  rate: float  # learning rate of the delta rule
  threshold: float  # of the first pulse, see `pulse_encoders`
  penalty: float  # of the ridge regression
  write_noise_penalty: float  # of each pulse, see `pulse_encoders`


class MetaParameters(hk.Module):
  """All meta-parameters as Haiku parameters, returned as `Theta`."""

  def __init__(
      self, shapes: tuple[tuple[int, int], ...],
      network: network_lib.Network, initial: InitialValues, name: str = 'meta'
  ):
    """Fixes the shapes and the initial values.

    Args:
      shapes: inputs, without the bias, and outputs of each crossbar.
      network: for its span and device numbers.
      initial: values at which meta-training starts.
      name: of the module.
    """
    super().__init__(name=name)
    self._shapes, self._network, self._initial = shapes, network, initial

  def __call__(self) -> meta_parameters.Theta:
    """Returns `Theta`, its leaves Haiku parameters."""
    layers = []
    for i, (num_inputs, num_outputs) in enumerate(self._shapes):
      with hk.experimental.name_scope(f'layer_{i}'):
        span_uS = self._network.span_uS * self._network.num_devices[i]
        layers.append(modules.layer_params(
            num_inputs, num_outputs, self._initial.weight_std[i],
            self._initial.weight_max[i], span_uS))

    def log_parameter(name, shape, value):
      return hk.get_parameter(
          f'log_{name}', shape, init=hk.initializers.Constant(
              jnp.log(jnp.float32(value))))

    num_layers = (len(layers),)
    rule = meta_parameters.RuleParams(
        log_rate=log_parameter('rate', num_layers, self._initial.rate),
        log_threshold=log_parameter(
            'threshold', num_layers, self._initial.threshold),
        log_penalty=log_parameter('penalty', (), self._initial.penalty),
        # Saved parameters know it as 'log_harm'.
        log_write_noise_penalty=log_parameter(
            'harm', (), self._initial.write_noise_penalty))
    return meta_parameters.Theta(tuple(layers), rule)


class Transforms(NamedTuple):
  """Haiku transforms that meta-training and meta-testing call.

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
    make_learner: Callable[..., types.Learner],
    parameters: Callable[[], MetaParameters],
    schedule: maml.Schedule,
    loss_fn: maml.LossFn,
    *,
    num_events: int,
    rate_band_Hz: tuple[float, float],
    rate_penalty: float,
    task_batch_size: int,
    before_s: float,
    after_s: tuple[float, ...],
    bounds_uS: tuple[float, float],
    readapt: bool = False,
) -> Transforms:
  """Returns the transforms; every draw comes from one `hk.next_rng_key()`.

  Args:
    make_learner: `(noise_scale, testing, reference) -> Learner` over `Theta`;
      reference is the date of the predictions, by default the query time of
      training.
    parameters: makes the parameter module inside a transform.
    schedule: times of the deployment.
    loss_fn: query loss.
    num_events: adaptation events per task.
    rate_band_Hz: firing rates without a penalty.
    rate_penalty: weight of `losses.firing_rate_penalty`, of each task.
    task_batch_size: tasks of one chip that meta-training computes as one
      vectorised batch; divides their number.
    before_s: chip time of the test before adaptation.
    after_s: [D], chip times of the tests after it.
    bounds_uS: lowest and highest state of a device.
    readapt: whether a test adapts the chip once more before each date.

  Returns:
    `Transforms`.

  Raises:
    ValueError: from `loss`, if task_batch_size does not divide the number of
      tasks.
  """
  task_loss = functools.partial(
      _task_loss, loss_fn, rate_band_Hz, rate_penalty, bounds_uS)

  def loss(episodes, noise_scale):
    key, theta = hk.next_rng_key(), parameters()()
    learner = make_learner(noise_scale, testing=False)
    return maml.meta_loss(
        learner, key, theta, episodes, schedule, loss_fn,
        num_events=num_events,
        over_tasks=lambda one_task, chip, items: batching.mean(
            functools.partial(task_loss, one_task), chip, items,
            batch_size=task_batch_size))

  def evaluate(episodes, noise_scale) -> dict[str, Any]:
    key, theta = hk.next_rng_key(), parameters()()
    learner = make_learner(noise_scale, testing=True)
    readapt_fn = lambda time: make_learner(
        noise_scale, testing=True, reference=time)
    return maml.evaluate(
        learner, key, theta, episodes, schedule, clock.exact(before_s),
        clock.exact(np.asarray(after_s)), num_events=num_events,
        readapt_fn=readapt_fn if readapt else None)

  def theta() -> meta_parameters.Theta:
    if hk.running_init():  # A loss draws its own key before its parameters.
      hk.next_rng_key()
    return parameters()()

  return Transforms(
      loss=hk.transform(loss),
      evaluate=hk.transform(evaluate),
      theta=hk.without_apply_rng(hk.transform(theta)))


def _task_loss(loss_fn, rate_band_Hz, rate_penalty, bounds_uS, one_task, chip,
               item):
  """Returns the loss of one task with its rate penalty, and its metrics."""
  query_loss, info = one_task(chip, item)
  rates_Hz, support = info['query']['rate_Hz'], info['support']
  penalty = sum(losses.firing_rate_penalty(rate, *rate_band_Hz)
                for rate in rates_Hz)
  return query_loss + rate_penalty * penalty, {
      'support_loss': loss_fn(support['outputs'][0], item[1].support.y),
      'query_loss': query_loss,
      'rate_Hz': jnp.stack([jnp.mean(rate) for rate in rates_Hz]),
      'pulses_per_task': jnp.sum(support['write']['pulses']),
      'share_at_bound': losses.share_at_bound(
          [g_uS[-1] for g_uS in support['g_uS']], bounds_uS)}
