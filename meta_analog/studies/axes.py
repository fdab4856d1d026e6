"""Axes of a study: rows that differ in the values of a few fields.

One run config becomes a row for every combination of values. Its networks are
those that the config trains, evaluated at each value; those of a source that
was trained before; or networks trained anew at each value.
"""

from collections.abc import Sequence
import itertools
import re
from typing import Any
from typing import NamedTuple

from meta_analog.core import errors

# Fields of a training or of the shapes that it gave the parameters.
OF_TRAINING = ('training.', 'init.', 'network.hidden_sizes',
               'network.convolutions', 'network.input_channels')


class Axis(NamedTuple):
  """A field and the values that it takes."""

  field: str  # dotted
  values: tuple[str, ...]  # as on the command line


def parse(words: Sequence[str]) -> tuple[Axis, ...]:
  """Returns the axes that --axis names.

  Args:
    words: FIELD=VALUE,VALUE, ... each.

  Raises:
    InputError: in one line, if one cannot be.
  """
  axes = []
  for word in words:
    field, _, text = word.partition('=')
    values = _values(text)
    if not re.fullmatch(r'\w+(\.\w+)*', field) or '' in values:
      raise errors.InputError(
          f'--axis={word}: must be FIELD=VALUE,VALUE, such as '
          'periphery.adc_bits=4,6,8')
    if field == 'seed':
      raise errors.InputError(f'--axis={word}: --seeds gives the seeds')
    if len({*values}) < len(values):
      raise errors.InputError(f'--axis={word}: a value is given twice')
    if field in (axis.field for axis in axes):
      raise errors.InputError(f'--axis={word}: {field} has an axis already')
    axes.append(Axis(field, values))
  return tuple(axes)


def rows(
    row: dict[str, Any], axes: Sequence[Axis], source: str, *, train_anew: bool
) -> tuple[dict[str, Any], ...]:
  """Returns the rows of a run config along some axes.

  Args:
    row: that of the config, as a study declares it.
    axes: at least one, or a source alone.
    source: run, or file of meta-parameters, whose networks are evaluated; ''
      trains the row and evaluates its networks.
    train_anew: whether each value is trained.

  Raises:
    InputError: if an evaluation cannot tell the values apart.
  """
  if source and train_anew:
    raise errors.InputError(
        '--source and --train_anew: a network that is trained has no source; '
        'leave one out')
  if not (axes or source or train_anew):
    return (row,)
  if not axes:
    raise errors.InputError(f'--{"source" if source else "train_anew"}: needs '
                            'an --axis, such as --axis periphery.adc_bits=4,6')
  for axis in axes:
    if axis.field.startswith(OF_TRAINING) and not train_anew:
      raise errors.InputError(
          f'--axis={axis.field}: is decided when a network is trained; add '
          '--train_anew')
  along = [_at(row, dict(zip((axis.field for axis in axes), values)),
               source, train_anew)
           for values in itertools.product(*(axis.values for axis in axes))]
  return (*(() if source or train_anew else (row,)), *along)


def _values(text):
  """Returns what commas part, but for those within brackets."""
  values, depth = [''], 0
  for letter in text:
    depth += (letter in '([') - (letter in ')]')
    if letter == ',' and depth == 0:
      values.append('')
    else:
      values[-1] += letter
  return tuple(value.strip() for value in values)


def _at(row, values, source, train_anew):
  """Returns the row at some values."""
  short = {field.rpartition('.')[2]: field for field in values}
  names = short if len(short) == len(values) else values
  name = '+'.join(f'{name}={value}' for name, value in zip(
      names, values.values()))
  new = {
      'name': re.sub(r'[^\w.=+-]+', '_', name).strip('_'), 'axis': values,
      'label': ', '.join(f'{field} = {x}' for field, x in values.items()),
      'group': f'{row["name"]} along {", ".join(values)}'}
  if source or train_anew:
    new |= {'config': row['config'], 'overrides': row['overrides'] | values}
    return new | ({'params': source} if source else {})
  return new | {'source': row['name'], 'overrides': values}
