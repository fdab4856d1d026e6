"""Default config, and config files as differences to it.

A config file takes the defaults of its task, changes what differs, and names
its variants:

    c = defaults.get_config(task='sinusoid')
    c.name, c.device = 'perf', 'ideal'
    c.adapt.update_bits = 2
    return defaults.with_variants(c, VARIANTS, argument)

The fields that all tasks share stand in `default_fields`, those of single tasks
in `task_defaults`.
"""

from collections.abc import Mapping
import difflib
from typing import Any

import ml_collections

from meta_analog.config import default_fields
from meta_analog.config import task_defaults

# Changes that variants of several config files share.
TINY = {  # a whole run in a minute, to see that it runs: no result
    'training.num_steps': 6,
    'training.tasks_per_step': 8,
    'training.checkpoint_every': 3,
    'training.log_every': 2,
    'evaluation.num_tasks': 20,
    'evaluation.num_chips': 4,
    'evaluation.ordinary_steps': 20,
}
IDEAL = {  # devices without noise and drift; their number stays
    'device': 'ideal',
    'crossbar.floor_uS': 0.0,
    'crossbar.fresh_read_share': 0.0,
    'crossbar.drift_compensation': 'none',
    'training.noise_full': 0.0,
}
EXACT = {  # converters of float32, and writes without pulses
    'periphery.dac_bits': 32,
    'periphery.dac_range': 1e6,  # no limit
    'periphery.adc_bits': 32,
    'periphery.adc_range': 1e6,
    'adapt.write': 'exact',
}
# Variants of the configs of images and events. As many devices as on PCM where
# they are ideal, since the gains of pretrained layers are of that many.
FEW_SHOT_VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': TINY | {
        'network.convolutions': ((4, 5, 3), (8, 3, 2)),
        'training.pretrain_steps': 20, 'training.pretrain_way': 5},
    # The float reference: exact devices, converters and writes.
    'float': IDEAL | EXACT,
    # Performance mode: ideal devices, coarse writes.
    'two_bits': IDEAL | {'adapt.update_bits': 2},
    'four_bits': IDEAL | {'adapt.update_bits': 4},
    # Three events on PCM, each measured on the array that it corrects.
    'closed_loop': {'adapt.num_events': 3, 'adapt.event_interval_s': 20.0},
    '5way1shot': {'task.way': 5, 'task.shot': 1},  # the default
}


def get_config(task: str = 'sinusoid') -> ml_collections.ConfigDict:
  """Returns the default config of a task, to be changed.

  Args:
    task: 'sinusoid', 'omniglot' or 'nmnist'.

  Returns:
    An unlocked `ConfigDict`; `with_variants` locks it.

  Raises:
    ValueError: if there is no such task.
  """
  task_defaults.check_name(task)
  c = default_fields.make()
  c.name = task
  task_defaults.apply(c, task)
  return c


def with_variants(
    config: ml_collections.ConfigDict,
    variants: Mapping[str, Mapping[str, Any]],
    argument: str = ''
) -> ml_collections.ConfigDict:
  """Returns a config with variants applied, locked.

  Args:
    config: `get_config` with changes.
    variants: {name: {dotted field: value}}.
    argument: comma-separated names, applied in that order.

  Returns:
    `config` itself.

  Raises:
    ValueError: if a variant is unknown, or a changed field does not exist.
  """
  _check_fields(config)
  config.variant = argument
  config.lock()
  for name in filter(None, argument.split(',')):
    if name not in variants:
      commas = '; use commas between variants' if ':' in name else ''
      raise ValueError(f'config argument {name!r}: must be one of '
                       f'{", ".join(variants)}{commas}')
    config.update_from_flattened_dict(variants[name])
  return config


def flat(
    config: ml_collections.ConfigDict, prefix: str = ''
) -> dict[str, Any]:
  """Returns {dotted field: value} of a config, in its own order."""
  out = {}
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      out |= flat(value, f'{prefix}{name}.')
    else:
      out[f'{prefix}{name}'] = value
  return out


def _check_fields(config):
  """Raises ValueError at a field that the defaults do not have."""
  known = flat(get_config(config.task.name))
  for field in flat(config):
    if field not in known:
      near = difflib.get_close_matches(field, known, 1)
      hint = f'; did you mean {near[0]}?' if near else ''
      raise ValueError(f'config.{field}: no such field{hint}')
