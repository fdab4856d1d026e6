"""Rules of adaptation: which weight change is wanted, and by which pulses.

A rule is two pure functions, joined by the learner:

    delta_fn   (features, error, params) -> delta_w, in the digital periphery
    encode_fn  (delta_w, stairs, params, layer, features, error) -> num_pulses

Axes: N sample, F feature (bias included), O output, K level, P polarity.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import quantization
from meta_analog.learning import meta_parameters
from meta_analog.learning import plasticity
from meta_analog.learning import pulse_encoders

RULES = ('delta', 'ridge')
LAYERS = ('output', 'all')
ENCODERS: Mapping[str, Callable[..., jax.Array]] = types.MappingProxyType({
    'threshold': pulse_encoders.encode_threshold,
    'nearest': pulse_encoders.encode_nearest,
    'descent': pulse_encoders.encode_descent,
})


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


def delta(features: jax.Array,
          error: jax.Array,
          params: meta_parameters.RuleParams,
          *,
          num_steps: int = 1) -> jax.Array:
  """Returns the change of `plasticity.delta_rule` at the learned rate."""
  rate = jnp.exp(params.log_rate[-1])
  return plasticity.delta_rule(features, error, rate, num_steps=num_steps)


def ridge(
    features: jax.Array, error: jax.Array, params: meta_parameters.RuleParams
) -> jax.Array:
  """Returns the change of `plasticity.ridge` at the learned penalty."""
  return plasticity.ridge(features, error, jnp.exp(params.log_penalty))


def make(
    *, rule: str, encoding: str, update_bits: int, num_steps: int = 1,
    layers: str = 'output', first_order: bool = False
) -> Rule:
  """Returns the rule with these names.

  Args:
    rule: 'delta' or 'ridge'.
    encoding: 'threshold', 'nearest' or 'descent'.
    update_bits: 1 to 8; at most `quantization.max_level` pulses of either sign.
    num_steps: batch steps of the delta rule in the periphery.
    layers: 'output' or 'all'.
    first_order: see `Rule`.

  Returns:
    A `Rule`.

  Raises:
    ValueError: if a name is unknown or a combination has no meaning.
  """
  check(rule=rule, encoding=encoding, update_bits=update_bits,
        num_steps=num_steps, layers=layers)
  deltas = {'delta': functools.partial(delta, num_steps=num_steps),
            'ridge': ridge}
  encode_fn = pulse_encoders.encode_sign if update_bits == 1 else ENCODERS[
      encoding]
  return Rule(deltas[rule], encode_fn, quantization.max_level(update_bits),
              layers == 'all', first_order,
              num_steps if rule == 'delta' else None)


def check(
    *, rule: str, encoding: str, update_bits: int, num_steps: int = 1,
    layers: str = 'output', first_order: bool = False
) -> None:
  """Raises ValueError where `make` could not make a rule.

  Args:
    rule: see `make`, as the others.
    encoding: see `make`.
    update_bits: see `make`.
    num_steps: see `make`.
    layers: see `make`.
    first_order: see `make`; either.

  Raises:
    ValueError: if a name is unknown or a combination has no meaning.
  """
  del first_order
  for name, value, known in (('adapt.rule', rule, RULES),
                             ('adapt.encoding', encoding, ENCODERS),
                             ('adapt.layers', layers, LAYERS)):
    if value not in known:
      raise ValueError(f'{name} = {value!r}: must be one of {sorted(known)}')
  quantization.max_level(update_bits)
  if encoding == 'threshold' and update_bits != 2:
    raise ValueError(f'adapt.update_bits = {update_bits}: must be 2 with '
                     "adapt.encoding = 'threshold' (one pulse or none)")
  if layers == 'all' and (rule != 'delta' or num_steps != 1):
    raise ValueError(f'adapt.rule = {rule!r}, adapt.num_steps = {num_steps}: '
                     "must be 'delta' and 1 with adapt.layers = 'all'")
  if layers == 'all' and encoding == 'descent':
    raise ValueError("adapt.encoding = 'descent': must be 'nearest' or "
                     "'threshold' with adapt.layers = 'all'")
