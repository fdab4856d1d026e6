"""Rows of a study, as the config files of studies declare them.

`plan` checks them.
"""

from collections.abc import Sequence
import difflib
from typing import Any

import ml_collections

Row = dict[str, Any]
SAME_NETS = 'the same nets under other conditions'
# Makes every row run in seconds, to see that all of it works.
TINY = {'training.num_steps': 2, 'evaluation.num_tasks': 8,
        'evaluation.num_chips': 2, 'evaluation.ordinary_steps': 2}


def trained(
    name: str, group: str, label: str, config: str,
    overrides: dict[str, Any] | None = None,
    required: dict[str, float] | None = None
) -> Row:
  """Returns a row that is trained.

  Args:
    name: of its folder.
    group: of rows in the table and the figure.
    label: in the table.
    config: 'pcm:one_device' is configs/pcm.py:one_device.
    overrides: {field: value}, as on the command line.
    required: {seconds of the test, in digits: score that is required}.
  """
  path, _, argument = config.partition(':')
  return {'name': name, 'group': group, 'label': label,
          'config': ':'.join(filter(None, [f'configs/{path}.py', argument])),
          'overrides': overrides or {}, 'required': required or {}}


def evaluated(
    name: str, label: str, source: str,
    overrides: dict[str, Any] | None = None,
    required: dict[str, float] | None = None, params: str = 'trained',
    group: str = SAME_NETS
) -> Row:
  """Returns a row that evaluates the nets of a trained row again.

  Args:
    name: of its folder.
    label: in the table.
    source: name of the trained row.
    overrides: {field: value}, of the test.
    required: see `trained`.
    params: 'trained', or 'initial': those before meta-training.
    group: see `trained`.
  """
  return {'name': name, 'group': group, 'label': label, 'source': source,
          'overrides': overrides or {}, 'required': required or {},
          'params': params}


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
  """Returns the rows of these names and their sources; all rows for no name.

  Raises:
    ValueError: if a name is unknown.
  """
  by_name = {row['name']: row for row in rows}
  for name in names:
    if name not in by_name:
      near = difflib.get_close_matches(name, by_name, 1)
      raise ValueError(
          f'config argument {name!r}: ' + (
              f'did you mean {near[0]!r}?' if near else
              f'must be tiny or one of {", ".join(by_name)}'))
  named = {*names} | {by_name[name].get('source', name) for name in names}
  return [row for row in rows if not names or row['name'] in named]


def config(
    argument: str, rows: Sequence[Row], *, seeds: tuple[int, ...],
    times_s: tuple[float, ...], references: tuple[Row, ...] = (),
    tiny_overrides: dict[str, Any] | None = None
) -> ml_collections.ConfigDict:
  """Returns the locked config of a study.

  Args:
    argument: comma-separated names of rows, all where there are none; and
      'tiny', which makes them small and leaves two seeds at most.
    rows: all that the study declares.
    seeds: of every row.
    times_s: of the table's columns after adaptation, the main one first.
    references: the numbers of others.
    tiny_overrides: what 'tiny' changes beside TINY.

  Returns:
    A locked `ConfigDict`: seeds; rows, with the sources of those that are
    evaluated; times_s; references.

  Raises:
    ValueError: if a row is unknown.
  """
  words = [word for word in argument.split(',') if word]
  rows = chosen(rows, [word for word in words if word != 'tiny'])
  if 'tiny' in words:
    seeds = seeds[:2]
    rows = [tiny(row, TINY | (tiny_overrides or {})) for row in rows]
  c = ml_collections.ConfigDict()
  c.seeds, c.times_s, c.rows = seeds, times_s, tuple(rows)
  c.references = references
  return c.lock()


def tiny(row: Row, overrides: dict[str, Any]) -> Row:
  """Returns a row in the tiny form of its config, with more overrides."""
  if 'source' in row:
    return row
  path, _, argument = row['config'].partition(':')
  return row | {
      'config': f'{path}:{",".join(filter(None, [argument, "tiny"]))}',
      'required': {}, 'overrides': row['overrides'] | overrides}
