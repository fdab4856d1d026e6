"""The learner in its textbook form: one scan over time, differentiated as is.

What `learner.make` is held against, in its numbers and in its speed: the same
chip, rule, keys and noise, computed without any of its short cuts.

    all layers advance together in one `jax.lax.scan` over time steps: product,
      noise, converter, neuron; the output is the mean of a leaky integrator
    the delta rule is the gradient of the support error through that scan with
      respect to all layers, of which the output layer's part is applied

Axes: T time step, N sample, I in (bias included, last), O out, K tile of rows.
"""

import functools

import jax
import jax.numpy as jnp

from meta_analog import base
from meta_analog import chips
from meta_analog import fresh_noise
from meta_analog import gaussian
from meta_analog import learner
from meta_analog import lif
from meta_analog import periphery as peri
from meta_analog import precise
from meta_analog import presentation
from meta_analog import rules


def make(
    hardware: chips.Hardware, rule: rules.Rule, times: learner.Times, *,
    keep_trace: bool = False
) -> base.Learner:
  """Returns the learner; the arguments are those of `learner.make`."""
  by_gradient = rule.num_steps is not None and not rule.all_layers
  ask_fn = ask if by_gradient else functools.partial(learner.ask, present)
  return learner.make(hardware, rule, times, keep_trace=keep_trace,
                      present_fn=present, ask_fn=ask_fn)


def ask(
    key: jax.Array, network: presentation.Network, rule: rules.Rule,
    views: tuple[peri.View, ...], support: base.Samples,
    params: rules.RuleParams
) -> tuple[presentation.Presentation, dict[int, jax.Array]]:
  """Returns a presentation, and the change of steps down its gradient.

      dW <- dW - rate d/dW sum |y - y(dW)|^2 / 2 N,   repeated num_steps times

  The change is made in the digital periphery, behind the converters, and is
  only then written: so column gains, wires and limits are not differentiated
  through where it enters. Every step presents the support set anew, by the same
  read of the array.

  Args:
    key: consumed by the noise of the presentation.
    network: see `presentation.Network`.
    rule: the delta rule of the output layer.
    views: one per layer.
    support: samples.
    params: the rule's settings.

  Returns:
    What was seen at first, and {last layer: weight change [I, O]}.
  """
  noise = draw(key, network, views, len(support.x))

  def loss(weights):
    hidden, change = weights
    replaced = [v._replace(reading=v.reading._replace(weights=w))
                for v, w in zip(views[:-1], hidden)]
    seen = advance(noise, network, (*replaced, views[-1]), support.x, change)
    error = jnp.sum(jnp.square(support.y - seen.outputs), axis=-1)
    return 0.5 * jnp.mean(error), seen

  hidden = [view.reading.weights for view in views[:-1]]
  change = jnp.zeros_like(views[-1].reading.weights)
  seen, rate = [], jnp.exp(params.log_rate[-1])
  for _ in range(rule.num_steps):
    (_, gradient), now = jax.grad(loss, has_aux=True)((hidden, change))
    change = change - rate * gradient
    seen.append(now)
  return seen[0], {len(views) - 1: change}


def present(
    key: jax.Array, network: presentation.Network,
    views: tuple[peri.View, ...], inputs: jax.Array
) -> presentation.Presentation:
  """Returns what `presentation.present` does, with the same arguments."""
  return advance(draw(key, network, views, len(inputs)), network, views, inputs)


def draw(
    key: jax.Array, network: presentation.Network,
    views: tuple[peri.View, ...], num_samples: int
) -> tuple[list[jax.Array], ...]:
  """Returns the fresh noise of a presentation: of each tile, [T, N, O].

  Args:
    key: consumed.
    network: see `presentation.Network`.
    views: one per layer.
    num_samples: N.

  Returns:
    A list of tiles for each layer, empty where no read noise is fresh.
  """
  def layer(key, view):
    num_tiles, num_outputs = view.columns.gain.shape
    shape = (len(network.readout), num_samples, num_outputs)
    fresh = view.reading.variance is not None
    return [gaussian.normal(jax.random.fold_in(key, k), shape)
            for k in range(fresh * num_tiles)]

  return tuple(map(layer, jax.random.split(key, len(views)), views))


def advance(
    noise: tuple[list[jax.Array], ...], network: presentation.Network,
    views: tuple[peri.View, ...], inputs: jax.Array,
    change: jax.Array | None = None
) -> presentation.Presentation:
  """Returns what a presentation with this noise gives, see `present`.

  Args:
    noise: see `draw`.
    network: see `presentation.Network`; the keywords of its activity_fn are
      those of `lif.step`.
    views: one per layer.
    inputs: [N, I - 1], constant.
    change: [I, O], of the output layer's weights behind the converters, if any.

  Returns:
    A `presentation.Presentation`.
  """
  driven = peri.drive(network.periphery, presentation.population_code(
      inputs, network.num_channels))
  step_fn = functools.partial(
      lif.step, neuron=network.neuron,
      **{name: value for name, value in getattr(
          network.activity_fn, 'keywords', {}).items()
         if name in ('surrogate', 'reset')})
  decay, start = network.readout_decay, network.readout_start

  def body(carry, noise):
    states, output = carry
    x, after = with_bias(driven), []
    for state, view, own in zip(states, views, noise):
      after.append(step_fn(state, product(own, network.periphery, view, x)))
      x = with_bias(after[-1].z)
    current = product(noise[-1], network.periphery, views[-1], x)
    if change is not None:
      current += precise.matmul(x, change)
    output = decay * output + (1.0 - decay) * current
    return (after, output), (output, current, [s.z for s in after])

  rest = [lif.initial_state((len(inputs), v.columns.gain.shape[1]))
          for v in views]
  _, (outputs, currents, spikes) = jax.lax.scan(
      body, (rest[:-1], rest[-1].v), noise, length=len(network.readout))
  filtered = lif.leaky_integrate(with_bias(spikes[-1]), decay)
  average = lambda x: jnp.mean(x[start:], axis=0)
  rates = [jnp.mean(z, axis=(0, 1)) * (1000.0 / network.dt_ms) for z in spikes]
  return presentation.Presentation(
      average(filtered), currents, average(outputs), tuple(rates))


def product(
    noise: list[jax.Array], periphery: peri.Periphery, view: peri.View,
    x: jax.Array
) -> jax.Array:
  """Returns the digital outputs of one layer at one time step, [N, O].

  Args:
    noise: of each tile, [N, O], or empty.
    periphery: design.
    view: of the layer.
    x: [N, I], as driven, with the 1 of the bias.

  Returns:
    [N, O], by the equations of `periphery`.
  """
  total = 0.0
  for k, (gain, offset) in enumerate(zip(*view.columns)):
    rows = slice(k * periphery.tile_rows, (k + 1) * periphery.tile_rows)
    own, weights = x[:, rows], view.reading.weights[rows]
    y = precise.matmul(own, weights)
    if periphery.ir_drop:
      y -= periphery.ir_drop * _lost(own, weights, view, periphery)
    if noise:
      variance = precise.matmul(
          jnp.square(own), view.reading.variance[rows])
      y += fresh_noise.safe_sqrt(variance) * noise[k]
    reach = min(periphery.adc_range, float(len(weights)))
    total += peri.convert(
        gain[None] * y + offset[None],
        reach * periphery.dac_range * view.weight_max, bits=periphery.adc_bits)
  return jnp.reshape(view.factor, (1, -1)) * total


def _lost(x, weights, view, periphery):
  """Returns what a tile loses along its wires, see `periphery`."""
  num_rows = len(weights)
  row = jnp.arange(num_rows)[:, None] / num_rows
  largest = view.weight_max * periphery.dac_range
  load = num_rows / peri.WIRE_TO_CELL * (
      precise.matmul(jnp.abs(x), jnp.abs(weights))) / largest
  far = weights * (1.0 - (1.0 - row) ** 2)
  return peri.wire_loss(load) * precise.matmul(x, far)


def with_bias(x: jax.Array) -> jax.Array:
  """Returns [..., I - 1] with the 1 of the bias beside it, [..., I]."""
  return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)
