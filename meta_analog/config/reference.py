"""Reference of every config field: unit, default, allowed values, meaning.

    python -m meta_analog.config.reference

prints it as Markdown. Meanings are the comments beside the defaults, and beside
the parameters of devices, prices and verification; allowed values are those
that validation compares with.
"""

from collections.abc import Mapping
import inspect
import re
import types
from typing import Any
from typing import NamedTuple

from meta_analog.config import default_fields
from meta_analog.config import defaults
from meta_analog.config import hardware_validation
from meta_analog.config import ranges
from meta_analog.config import task_defaults
from meta_analog.config import validation
from meta_analog.core import clock
from meta_analog.crossbar import energy
from meta_analog.devices import registry as device_registry
from meta_analog.learning import update_rules
from meta_analog.programming import verify_options
from meta_analog.tasks import registry as task_registry

TASKS = tuple(task_registry.FAMILIES)
UNITS = {'fJ_per_uS': 'fJ/uS', 'per_uS': '1/uS', 'uS': 'uS', 'ms': 'ms',
         'ns': 'ns', 's': 's', 'Hz': 'Hz', 'pJ': 'pJ'}
CHOICES = {**validation.CHOICES, **hardware_validation.CHOICES,
           'adapt.rule': update_rules.RULES,
           'adapt.encoding': update_rules.ENCODERS,
           'adapt.layers': update_rules.LAYERS}
# Bounds that are other fields, see `refresh.check`, or of several values.
BOUNDED: Mapping[str, str] = types.MappingProxyType({
    'adapt.refresh_level_uS': '> 0, <= g_max_uS of the device',
    'adapt.refresh_difference_uS': '> 0, <= adapt.refresh_level_uS',
    'adapt.refresh_ceiling_uS': '> 0, <= g_max_uS of the device',
    'network.hidden_sizes': f'each >= 1, <= {ranges.MANY}',
    'network.convolutions': f'each three numbers >= 1, <= {ranges.MANY}',
    'init.weight_std': 'three, each > 0',
    'init.weight_max': 'three, each > 0',
    'evaluation.after_s': 'each later than the last write, '
                          f'< {clock.LIMIT_S:.0f}'})
FIELD = re.compile(r'  (?:c\.)?([\w.]+)(?:: [\w.| ]+)? = ')


class Row(NamedTuple):
  """One field of a config."""

  field: str  # dotted
  unit: str  # '' where it has none
  default: Mapping[str, Any]  # {task: value}, of the tasks that have it
  allowed: str  # '' where nothing is said
  text: str


def rows() -> list[Row]:
  """Returns every field of the tasks' default configs, in the sources' order.

  Raises:
    KeyError: if a field has no source.
  """
  values = {task: defaults.flat(defaults.get_config(task)) for task in TASKS}
  texts = _texts()
  place = {name: i for i, name in enumerate(texts)}
  sections = list(dict.fromkeys(map(_section, texts)))
  out = []
  for field in sorted(set().union(*values.values()),
                      key=lambda x: (sections.index(_section(x)), place[x])):
    unit, text = _unit(field, texts[field])
    default = {task: values[task][field] for task in TASKS
               if field in values[task]}
    out.append(Row(field, unit, default, _allowed(
        field, next(iter(default.values()))), text))
  return out


def markdown() -> str:
  """Returns the reference as Markdown, one table a section."""
  lines = ['# Config fields', '', *INTRODUCTION.strip().splitlines()]
  last = None
  for row in rows():
    section = _section(row.field)
    if section != last:
      about = inspect.getdoc(getattr(default_fields, f'_{section}', None)) or ''
      lines += ['', f'## {section or "The run"}', '',
                *([about, ''] if section and about else []),
                '| field | meaning | default | unit | allowed |',
                '|---|---|---|---|---|']
      last = section
    cells = (f'`{row.field}`', row.text, _default(row.default), row.unit,
             row.allowed)
    lines.append(f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |')
  return '\n'.join(lines) + '\n'


INTRODUCTION = """
Each field is set on the command line by `--config.FIELD=VALUE`. A default that
differs between tasks is given for each.
"""


def comments(source: str) -> dict[str, str]:
  """Returns {field: its comment} of assignments in a source.

  Args:
    source: lines such as `  c.adapt.order = 'second'  # comment`, or the fields
      of a NamedTuple; a comment above a line comes first. A line that has
      none belongs to the last one before it that has.
  """
  found, above, last = {}, [], None
  for line in source.splitlines():
    match, stripped = FIELD.match(line), line.strip()
    if stripped.startswith('#'):
      above.append(stripped[1:].strip())
      continue
    if match:
      trailing = line.partition('  # ')[2].strip()
      text = ' '.join(filter(None, [*above, trailing]))
      found.setdefault(match[1], text or (f'see `{last}`' if last else ''))
      last = match[1] if text else last
    above = []
  return found


def _texts():
  """Returns {field: comment} of all fields."""
  out = comments(inspect.getsource(default_fields))
  out |= {field.removeprefix('config.'): text for field, text in comments(
      inspect.getsource(task_defaults)).items()}
  tuples = {'prices': energy.Prices,
            'verification': verify_options.VerifyOptions}
  tuples |= {f'device_params.{name}': type(family.params())
             for name, family in device_registry.FAMILIES.items()}
  for section, kind in tuples.items():
    found = comments(inspect.getsource(kind))
    out |= {f'{section}.{name}': found.get(name, '') for name in kind._fields}
  return out


def _section(field):
  """Returns the part of a field's name before its last."""
  return field.rpartition('.')[0]


def _unit(field, text):
  """Returns the unit of a field, and the text without it."""
  named = re.match(r'\[(.*?)\] ', text)
  if named:
    return named[1], text[named.end():]
  for ending, unit in UNITS.items():
    if field.endswith(f'_{ending}'):
      return unit, re.sub(rf'^{re.escape(unit)}(, |$)', '', text)
  return '', text


def _allowed(field, value):
  """Returns what validation allows of a field with this default, in words."""
  section, _, name = field.rpartition('.')
  limits = ranges.table()
  words = CHOICES.get(field, ())
  if field == 'task.name':
    words = TASKS
  if field == 'network.code':
    words = dict.fromkeys(code for family in task_registry.FAMILIES.values()
                          for code in family.codes)
  if section.startswith('device_params.'):
    family = device_registry.FAMILIES[section.partition('.')[2]]
    words = family.choices.get(name, ())
  if words:
    return ', '.join(f'`{word}`' for word in words)
  if field in BOUNDED:
    return BOUNDED[field]
  if field not in limits:
    return {bool: '`False`, `True`', float: 'any'}.get(type(value), '')
  low, high, closed = limits[field]
  top = '' if high == ranges.INF else f', <= {high}'
  return f'{">=" if closed else ">"} {low}{top}'


def _default(values):
  """Returns the default of a field, that of each task where they differ."""
  first = next(iter(values.values()))
  if len(values) == len(TASKS) and all(x == first for x in values.values()):
    return f'`{first!r}`'
  return ', '.join(f'{task} `{value!r}`' for task, value in values.items())


if __name__ == '__main__':
  print(markdown(), end='')
