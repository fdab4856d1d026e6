"""Energy of an adaptation that is written in several ways, and its error.

The same meta-parameters are evaluated on the same tasks with SET pulses alone
and with program-and-verify, with the output layer's devices per polarity as
trained and with one. With fewer devices the layer's gain grows in proportion,
so that the weights that it was trained for stay the same. A way that the config
cannot have, such as a verification that takes longer than the time between two
events, is left out.
"""

from collections.abc import Callable
import math
import re
from typing import Any

import jax
import ml_collections

from meta_analog.config import build
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.evaluation import meta_testing
from meta_analog.learning import transforms


def ways(config: ml_collections.ConfigDict) -> dict[str, dict[str, Any]]:
  """Returns {label: changed fields} of the ways to write."""
  numbers = sorted({1, config.crossbar.output_devices})
  words = {'open_loop': 'pulses', 'verified': 'verified'}
  return {
      f'{word}, {n} device{"s" if n > 1 else ""}': {
          'adapt.write': write, 'crossbar.output_devices': n}
      for write, word in words.items() for n in numbers}


def possible(
    config: ml_collections.ConfigDict
) -> tuple[dict[str, ml_collections.ConfigDict], dict[str, str]]:
  """Returns {label: config} of the ways to write, and {label: why not}.

  Args:
    config: of the trained run, checked.

  Raises:
    errors.InputError: if no way can be.
  """
  found, left_out = {}, {}
  for label, changes in ways(config).items():
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
      changed.update_from_flattened_dict(changes)
    try:
      validation.check(changed)
      found[label] = changed
    except errors.InputError as error:
      left_out[label] = str(error)
  if not found:
    label, why = next(iter(left_out.items()))
    raise errors.InputError(f'no way to write can be compared: {label}: {why}')
  return found, left_out


def run(
    config: ml_collections.ConfigDict,
    cases: dict[str, ml_collections.ConfigDict],
    params: transforms.Params,
    key: jax.Array,
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
  """Evaluates ways to write; returns a row for each.

  Args:
    config: of the trained run, checked.
    cases: of `possible`.
    params: trained meta-parameters.
    key: of the test stream.
    log: prints a line.

  Returns:
    Rows with 'label', 'before', 'after' (mean and ci95), 'write', 'energy',
    'latency' and 'nJ_per_unit_of_loss': the energy of the write over the loss
    that the adaptation took away, None where it took none.
  """
  rows = []
  for label, changed in cases.items():
    log(f'Testing: {label}.')
    setup = build.build(changed)
    ratio = config.crossbar.output_devices / changed.crossbar.output_devices
    results, _ = meta_testing.run(
        changed, setup, with_gain(params, ratio), key)
    summary = meta_testing.summarize(changed, setup, results)
    rows.append({'label': label, **{name: summary[name] for name in (
        'before', 'after', 'write', 'energy', 'latency')},
        'nJ_per_unit_of_loss': per_unit_of_loss(summary)})
  return rows


def with_gain(params: transforms.Params, ratio: float) -> transforms.Params:
  """Returns the parameters with the output layer's gain times ratio."""
  number = lambda module: int(
      re.search(r'layer_(\d+)$', module)[1] if 'layer_' in module else -1)
  last = max(map(number, params))
  changed = {}
  for module, values in params.items():
    is_last = number(module) == last
    changed[module] = {
        name: value + math.log(ratio) if is_last and name == 'log_gain'
        else value for name, value in values.items()}
  return changed


def per_unit_of_loss(summary: dict[str, Any]) -> float | None:
  """Returns nJ of writing for each unit of loss taken, or accuracy gained."""
  gained = summary['before']['mean'] - summary['after']['mean']
  if summary['metric'] == 'accuracy':
    gained = -gained
  written_nJ = summary['energy']['adaptation_write_nJ']
  return written_nJ / gained if gained > 0 else None
