"""Rules of adaptation: which weight change is wanted, and by which pulses.

A rule is two pure functions, joined by the learner:

    delta_fn   (features, error, params) -> delta_w, in the digital periphery
    encode_fn  (delta_w, stairs, params, layer, features, error) -> num_pulses

Axes: N sample, F feature (bias included), O output, K level, P polarity.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog import plasticity
from meta_analog import presentation
from meta_analog import quantize


class RuleParams(NamedTuple):
  """Settings of a rule, learned but for the last; all act through exp."""

  log_rate: jax.Array  # [L], learning rate of each layer, delta rule
  log_threshold: jax.Array  # [L], see the encoders
  log_penalty: jax.Array  # scalar, ridge penalty
  log_harm: jax.Array  # scalar, weight of the write noise in 'descent'; it
  # only enters a choice among levels and so gets no gradient


class Theta(NamedTuple):
  """Meta-parameters of a learner."""

  layers: tuple[presentation.LayerParams, ...]
  rule: RuleParams


class Rule(NamedTuple):
  """A rule of adaptation.

  Attributes:
    delta_fn: wanted weight change of the output layer, [F, O].
    encode_fn: pulses [F, O] for a wanted change, given a layer index.
    num_levels: K, most pulses of one weight in one event, static.
    all_layers: whether hidden layers are written too.
    first_order: whether the support set's features, errors and gradients are
      constants to the meta-gradient; the rule's settings are learned all the
      same.
    num_steps: of the gradient that delta_fn takes, static; None where it is
      not `delta`.
  """

  delta_fn: Callable[..., jax.Array]
  encode_fn: Callable[..., jax.Array]
  num_levels: int
  all_layers: bool = False
  first_order: bool = False
  num_steps: int | None = None


def delta(
    features: jax.Array, error: jax.Array, params: RuleParams, *,
    num_steps: int = 1
) -> jax.Array:
  """Returns the change of `plasticity.delta_rule` at the learned rate."""
  rate = jnp.exp(params.log_rate[-1])
  return plasticity.delta_rule(features, error, rate, num_steps=num_steps)


def ridge(
    features: jax.Array, error: jax.Array, params: RuleParams
) -> jax.Array:
  """Returns the change of `plasticity.ridge` at the learned penalty."""
  return plasticity.ridge(features, error, jnp.exp(params.log_penalty))


def encode_threshold(
    delta_w: jax.Array, stairs: jax.Array, params: RuleParams, layer: int,
    features: jax.Array | None = None, error: jax.Array | None = None
) -> jax.Array:
  """Returns one pulse where |delta_w| exceeds the learned threshold.

  The original rule of one thresholded pulse from the batch gradient.
  """
  del stairs, features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return quantize.threshold_pulse(delta_w, threshold)


def encode_nearest(
    delta_w: jax.Array, stairs: jax.Array, params: RuleParams, layer: int,
    features: jax.Array | None = None, error: jax.Array | None = None
) -> jax.Array:
  """Returns the pulses whose mean effect comes nearest to delta_w.

  The first pulse is given when delta_w exceeds the learned threshold, as a
  fraction of that pulse's effect.

  Args:
    delta_w: [F, O].
    stairs: [P, K + 1, F, O], see `crossbar.staircases`.
    params: learned settings.
    layer: index into params.
    features: not used.
    error: not used.

  Returns:
    [F, O], signed whole numbers.
  """
  del features, error
  threshold = jnp.exp(params.log_threshold[layer])
  return quantize.staircase_pulses(delta_w, stairs, threshold)


def encode_sign(
    delta_w: jax.Array, stairs: jax.Array, params: RuleParams, layer: int,
    features: jax.Array | None = None, error: jax.Array | None = None
) -> jax.Array:
  """Returns one pulse in the direction of delta_w: the grid of one bit."""
  del params, layer, features, error
  unit = jnp.maximum(jnp.max(stairs[0, 1]), 1e-9)
  return quantize.round_to_level(delta_w / unit, bits=1)


def encode_descent(
    delta_w: jax.Array, stairs: jax.Array, params: RuleParams, layer: int,
    features: jax.Array | None = None, error: jax.Array | None = None, *,
    num_sweeps: int = 2
) -> jax.Array:
  """Returns pulses chosen together, by coordinate descent on the support set.

  Starts from `encode_nearest` and is differentiated as it. (As the ridge
  regression that the levels round, the harm of pulses in it, training went
  astray: configs/perf.py fell to 0.04 and rose to 0.10.) The objective is
  the support error of the mean effects, plus the ridge penalty on the change.
  The harm of write noise grows with the number of pulses and with the power of
  the feature, so each pulse costs exp(log_harm) * power * (first step)^2.

  Args:
    delta_w: [F, O].
    stairs: [P, K + 1, F, O].
    params: learned settings.
    layer: index into params.
    features: [N, F].
    error: [N, O].
    num_sweeps: passes over all weights.

  Returns:
    [F, O], signed whole numbers.
  """
  nearest = encode_nearest(delta_w, stairs, params, layer)
  num_levels = stairs.shape[1] - 1
  levels = jnp.concatenate([-stairs[1, :0:-1], stairs[0]])  # [2 K + 1, F, O]
  count = jnp.abs(jnp.arange(-num_levels, num_levels + 1))[:, None, None]
  power = jnp.mean(jnp.square(features), axis=0)[:, None]  # [F, 1]
  harm = jnp.exp(params.log_harm) * power * jnp.square(stairs[0, 1])
  cost = jnp.exp(params.log_penalty) * jnp.square(levels) + harm[None] * count
  real = jax.vmap(quantize.rising)(stairs)
  real = jnp.concatenate([real[1, :0:-1], real[0]])
  cost = jnp.where(real, cost, jnp.inf)
  start = jax.lax.stop_gradient(nearest).astype(jnp.int32) + num_levels
  best = plasticity.descend_levels(
      features, error, levels, start, cost, num_sweeps=num_sweeps)
  chosen = (best - num_levels).astype(delta_w.dtype)
  return quantize.straight_through(chosen, nearest)


def make(
    *, rule: str, encoding: str, update_bits: int, num_steps: int = 1,
    layers: str = 'output', first_order: bool = False
) -> Rule:
  """Returns the rule with these names.

  Args:
    rule: 'delta' or 'ridge'.
    encoding: 'threshold', 'nearest' or 'descent'.
    update_bits: 1 to 8; at most `quantize.max_level` pulses of either sign.
    num_steps: batch steps of the delta rule in the periphery.
    layers: 'output' or 'all'.
    first_order: see `Rule`.

  Returns:
    A `Rule`.

  Raises:
    ValueError: if a name is unknown or a combination has no meaning.
  """
  deltas = {'delta': functools.partial(delta, num_steps=num_steps),
            'ridge': ridge}
  encoders = {'threshold': encode_threshold, 'nearest': encode_nearest,
              'descent': encode_descent}
  for name, value, known in (('adapt.rule', rule, deltas),
                             ('adapt.encoding', encoding, encoders),
                             ('adapt.layers', layers, ('output', 'all'))):
    if value not in known:
      raise ValueError(f'{name} = {value!r}: must be one of {sorted(known)}')
  num_levels = quantize.max_level(update_bits)
  if encoding == 'threshold' and update_bits != 2:
    raise ValueError(f'adapt.update_bits = {update_bits}: must be 2 with '
                     "adapt.encoding = 'threshold' (one pulse or none)")
  if layers == 'all' and (rule != 'delta' or num_steps != 1):
    raise ValueError(f'adapt.rule = {rule!r}, adapt.num_steps = {num_steps}: '
                     "must be 'delta' and 1 with adapt.layers = 'all'")
  if layers == 'all' and encoding == 'descent':
    raise ValueError("adapt.encoding = 'descent': must be 'nearest' or "
                     "'threshold' with adapt.layers = 'all'")
  encode_fn = encode_sign if update_bits == 1 else encoders[encoding]
  return Rule(deltas[rule], encode_fn, num_levels, layers == 'all', first_order,
              num_steps if rule == 'delta' else None)
