"""Update rules of the inner loop: target weight change, and its pulses.

A rule is two pure functions, composed by the learner:

    delta_fn   (features, error, params) -> delta_w, in the digital periphery
    encode_fn  (delta_w, response, params, layer, features, error)
                   -> num_pulses, see `pulse_encoders`

Axes: L layer, N sample, F feature (bias included), O output, K pulse.
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
  """An update rule.

  Attributes:
    delta_fn: returns the target weight change of the output layer, [F, O].
    encode_fn: returns the pulses [F, O] of a target weight change.
    num_levels: K, most pulses of one weight in one adaptation event, static.
    all_layers: whether hidden layers are written too.
    first_order: whether the meta-gradient takes the support set's features,
      errors and gradients as constants; the rule's own parameters are learned
      in either case.
    num_steps: gradient steps of the delta rule, static; None for other rules.
  """

  delta_fn: Callable[..., jax.Array]
  encode_fn: Callable[..., jax.Array]
  num_levels: int
  all_layers: bool = False
  first_order: bool = False
  num_steps: int | None = None


def delta(
    features: jax.Array,
    error: jax.Array,
    params: meta_parameters.RuleParams,
    *,
    num_steps: int = 1,
) -> jax.Array:
  """Returns the weight change of the delta rule at the learned rate.

  Args:
    features: [N, F].
    error: [N, O], target minus output.
    params: gives the rate of the last layer.
    num_steps: gradient steps, see `plasticity.delta_rule`.

  Returns:
    [F, O].
  """
  rate = jnp.exp(params.log_rate[-1])
  return plasticity.delta_rule(features, error, rate, num_steps=num_steps)


def ridge(
    features: jax.Array, error: jax.Array, params: meta_parameters.RuleParams
) -> jax.Array:
  """Returns the weight change of ridge regression at the learned penalty.

  Args:
    features: [N, F].
    error: [N, O], target minus output.
    params: gives the penalty.

  Returns:
    [F, O], see `plasticity.ridge`.
  """
  return plasticity.ridge(features, error, jnp.exp(params.log_penalty))


def make(
    *, rule: str, encoding: str, update_bits: int, num_steps: int = 1,
    layers: str = 'output', first_order: bool = False
) -> Rule:
  """Returns an update rule by the names of its parts.

  Args:
    rule: 'delta' or 'ridge'.
    encoding: 'threshold', 'nearest' or 'descent', see `pulse_encoders`; with
      update_bits = 1 it is `pulse_encoders.encode_sign`.
    update_bits: 1 to 8; at most `quantization.max_level` pulses of either sign.
    num_steps: gradient steps of the delta rule in the periphery.
    layers: 'output' or 'all'.
    first_order: see `Rule`.

  Returns:
    A `Rule`.

  Raises:
    ValueError: if a name is unknown, update_bits is out of range, or a
      combination is not supported.
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
  """Validates the arguments of `make`.

  Args:
    rule: see `make`.
    encoding: see `make`.
    update_bits: see `make`.
    num_steps: see `make`.
    layers: see `make`.
    first_order: not used.

  Raises:
    ValueError: if a name is unknown, update_bits is out of range, or a
      combination is not supported.
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
