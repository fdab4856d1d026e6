"""Configs that runs left in their folders, read by this version."""

from typing import Any

import ml_collections

from meta_analog.core import errors

# Fields that younger versions added, with the value that changes no test, so
# that a net of before can be tested in every way of now.
ADDED = {
    'noise': {name: 1.0 for name in (
        'hidden_program', 'hidden_read', 'hidden_write', 'output_program',
        'output_read', 'output_write', 'drift_spread')},
    'network': {'input_channels': 1, 'neuron': 'lif'},
    'training': {'tasks_at_once': 0},
    'crossbar': {'slow_read_noise': False},
    'evaluation': {'adapt_anew': 'never'},
}
# The same of images alone, by the name of the task.
ADDED_TO = {
    'omniglot': {'task': {'centred': False},
                 'training': {'pretrain_distortion': 0.0}},
    'nmnist': {'training': {'pretrain_distortion': 0.0}},
}


def from_json(values: Any, source: str) -> ml_collections.ConfigDict:
  """Returns the locked config of a run, with the fields that came later.

  Args:
    values: parsed JSON of its config.json.
    source: the file's name, for messages.

  Returns:
    A locked `ConfigDict`.

  Raises:
    InputError: if it is something else.
  """
  if not isinstance(values, dict) or 'network' not in values:
    raise errors.InputError(f'{source} is not the config of a run')
  try:
    config = ml_collections.ConfigDict(_tuples(filled(values)))
    _follow(config.get('task', {}))
  except errors.InputError:
    raise
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise errors.InputError(f'{source} is not the config of a run: '
                            f'{errors.reason(error)}') from None
  return config.lock()


def filled(values: dict[str, Any]) -> dict[str, Any]:
  """Returns what a config.json holds, with the fields added since it was."""
  values = without_sweep(values)
  training = values.get('training')
  if (isinstance(training, dict) and 'tasks_at_once' not in training
      and training.get('chips_per_chunk') == 1):
    # The default then, which is what 0 means on a CPU.
    values = values | {'training': training | {'chips_per_chunk': 0}}
  task = values.get('task')
  name = task.get('name') if isinstance(task, dict) else None
  return _filled(_filled(values, ADDED), ADDED_TO.get(name, {}))


def without_sweep(values: Any) -> Any:
  """Returns what a config.json holds, without an empty section `sweep`.

  Until 0.1 a config could name several runs in such a section.

  Args:
    values: of the file; what is no config of a run is returned as it is.

  Raises:
    InputError: if the section names runs.
  """
  if not isinstance(values, dict) or 'sweep' not in values:
    return values
  sweep = values['sweep']
  axes = {name: axis for name, axis in sweep.items()
          if name != 'members_at_once'} if isinstance(sweep, dict) else sweep
  if not isinstance(axes, dict) or any(axes.values()):
    raise errors.InputError(
        f'the config names several runs (sweep = {axes}), which is a study '
        'now: name the folder of one of them, under members/, or train them '
        'again by launch/study.py --config FILE --seeds 0,1')
  return {name: value for name, value in values.items() if name != 'sweep'}


def _follow(task):
  """Lets the sizes of a task with classes follow from way and shots again."""
  for size, shot in (('support_size', 'shot'), ('query_size', 'query_shot')):
    if {'way', shot, size} <= {*task}:
      task[size] = task.get_oneway_ref('way') * task.get_oneway_ref(shot)


def _filled(values, added):
  out = dict(values)
  for name, value in added.items():
    if not isinstance(value, dict):
      out.setdefault(name, value)
    elif isinstance(out.setdefault(name, {}), dict):
      out[name] = _filled(out[name], value)
  return out


def _tuples(value):
  """Returns the value with the lists of JSON as the tuples of configs."""
  if isinstance(value, dict):
    return {name: _tuples(x) for name, x in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
