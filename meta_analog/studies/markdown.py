"""The table of a study as text, from what table.json holds alone."""

from collections.abc import Iterator
import math
from typing import Any

import rich.table

from meta_analog.studies import statistics

RATE_MAX_HZ = 200.0  # the highest that has no mark
MARK = '(!)'
MOST_FIELDS = 3  # that a cell names
UNITS = (('year', 31536000), ('day', 86400), ('h', 3600), ('min', 60))
COMMIT_DIGITS = 10
RIDGE = 'float_ridge'  # the baseline that is a column


def document(table: dict[str, Any]) -> str:
  """Returns table.md.

  Args:
    table: what table.json holds.

  Returns:
    For each task and metric a table of the trained rows and one of the rows
    that evaluate their nets again; beneath what the interval is, what is
    missing, and the numbers of others.
  """
  parts = []
  for (task, metric), rows in _families(table).items():
    parts.append(_heading(table, task, metric, rows))
    for evaluated in (False, True):
      mine = [row for row in rows if bool(row['of']) == evaluated]
      if mine:
        parts.append('\n'.join(_table(table, mine, evaluated=evaluated)))
    parts += _simple(rows)
  parts.append(table['interval'] + ' ' + _notes(table))
  missing = list(_missing(table))
  if missing:
    parts.append('Missing:\n\n' + '\n'.join(f'- {line}' for line in missing))
  if table['references']:
    parts.append('\n'.join(_references(table['references'])))
  return '\n\n'.join(parts) + '\n'


def kinds(table: dict[str, Any]) -> dict[tuple, list[dict[str, Any]]]:
  """Returns the rows that have a result, by (task, metric, samples)."""
  found = {}
  for row in table['cases']:
    if row['all'] is not None:
      first = row['seeds'][0]
      found.setdefault((first['task'], first['metric'],
                        first['support_size']), []).append(row)
  return found


def terminal(table: dict[str, Any]) -> rich.table.Table:
  """Returns the columns that matter most, for a terminal."""
  out = rich.table.Table(title='means over seeds, 95 %')
  time = main_time(table)
  for name in ('row', 'seeds', 'before', f'after, {span(time)}', 'required'):
    out.add_column(name, overflow='fold')
  for row in table['cases']:
    if row['all'] is None:
      out.add_row(row['name'], 'none')
      continue
    out.add_row(row['name'], _seeds(row), number(row['all']['before']),
                number(row['all']['after_by_time_s'].get(time)),
                _required(row, time))
  return out


def main_time(table: dict[str, Any]) -> str:
  """Returns the time of the first column after adaptation, '251'."""
  return f'{table["times_s"][0]:.12g}'


def number(result: dict[str, float | None] | None) -> str:
  """Returns '0.129 ± 0.009', with at least a digit of the interval."""
  if result is None:
    return ''
  mean, half = result['mean'], result.get('ci95')
  digits = 3 if abs(mean) >= 0.02 else 4
  if half is None:
    return f'{mean:.{digits}f}'
  if half > 1e-6 * abs(mean):  # else it is rounding
    digits = max(digits, math.ceil(-math.log10(half)))
  return f'{mean:.{digits}f} ± {half:.{digits}f}'


def duration(seconds: float) -> str:
  """Returns '43 s', '12 min' or '2.5 h'."""
  if seconds < 100:
    return f'{seconds:.0f} s'
  if seconds < 6000:
    return f'{seconds / 60:.0f} min'
  return f'{seconds / 3600:.1f} h'


def span(time: str) -> str:
  """Returns a time of the chip's clock in words: '251 s', '1 day'."""
  seconds = float(time)
  for unit, size in UNITS:
    if seconds >= size and seconds % size == 0:
      count = seconds / size
      plural = 's' if count > 1 and unit in ('year', 'day') else ''
      return f'{count:g} {unit}{plural}'
  return f'{seconds:g} s'


def _families(table):
  """Returns the rows that have a result, by (task, metric)."""
  found = {}
  for row in table['cases']:
    if row['all'] is not None:
      first = row['seeds'][0]
      found.setdefault((first['task'], first['metric']), []).append(row)
  return found


def _heading(table, task, metric, rows):
  """Returns what the numbers of a table are."""
  first = rows[0]['seeds'][0]
  return (f'{task}: query {metric} on {first["num_tasks"]} held-out tasks and '
          f'{first["num_chips"]} fresh chips for each seed, '
          f'{span(main_time(table))} after programming and later.')


def _table(table, rows, *, evaluated) -> Iterator[str]:
  """Yields the lines of one table."""
  times = [f'{time_s:.12g}' for time_s in table['times_s']]
  lines = [(_evaluated_cells if evaluated else _trained_cells)(row, times)
           for row in rows]
  yield _line(lines[0])
  yield _line('---' for _ in lines[0])
  group = None
  for row, cells in zip(rows, lines):
    if row['group'] != group:
      group = row['group']
      if group:
        yield _line([f'**{group}**'] + [''] * (len(cells) - 1))
    yield _line(cells.values())


def _simple(rows):
  """Returns a sentence with what simple predictors reach, if there are any."""
  simple = {name: result for name, result in rows[0]['all'][
      'baselines'].items() if name != RIDGE}
  return [f'On the tasks of {rows[0]["name"]}: ' + ', '.join(
      f'{name} {number(result)}' for name, result in simple.items()) + '.'
         ] if simple else []


def _trained_cells(row, times):
  """Returns the cells of a trained row, by their column."""
  all_, last = row['all'], row['seeds'][-1]
  after = all_['after_by_time_s']
  return {
      'row': row['label'], 'config': _config(row),
      'K': f'{last["support_size"]}',
      'devices': ', '.join(map(str, last['devices_per_polarity'])),
      'widths': ', '.join(
          [f'{channels} of {side} x {side}'
           for channels, side, _ in last.get('convolutions', [])]
          + [str(size) for size in last['hidden_sizes']]),
      'seeds': _seeds(row), 'before': number(all_['before']),
      f'after, {span(times[0])}': number(after.get(times[0])),
      'required': _required(row, *times),
      **{span(time): number(after.get(time)) for time in times[1:]},
      'float ridge': number(all_['baselines'].get(RIDGE)),
      'pulses': f'{all_["pulses_per_task"]:.0f}',
      'written': f'{all_["devices_written_per_task"]:.0f} of '
                 f'{last["write"]["devices_total"]}',
      'rates (Hz)': _rates(row),
      'training': '' if all_['wall_s'] is None else duration(all_['wall_s']),
      'commit': _commits(row)}


def _evaluated_cells(row, times):
  """Returns the cells of an evaluated row, by their column."""
  all_ = row['all']
  after = all_['after_by_time_s']
  return {
      'row': row['label'], 'nets and conditions': _config(row),
      'seeds': _seeds(row),
      f'after, {span(times[0])}': number(after.get(times[0])),
      'change': _change(all_.get('change')), 'required': _required(row, *times),
      **{span(time): number(after.get(time)) for time in times[1:]},
      'pulses': _pulses(row, times), 'rates (Hz)': _rates(row),
      'commit': _commits(row)}


def _pulses(row, times):
  """Returns pulses per task, and those of re-adaptation at each time."""
  text = f'{row["all"]["pulses_per_task"]:.0f}'
  readapt = row['all'].get(statistics.READAPT_PULSES) or {}
  more = [f'{readapt[time]:.0f}' for time in times[1:] if time in readapt]
  return text + (f', then {", ".join(more)}' if more else '')


def _rates(row):
  """Returns the mean rate of each layer, marked where any seed has too much."""
  highest = [max(rates) for rates in zip(
      *(run['firing_rate_hz'] for run in row['seeds']))]
  return ', '.join(
      f'{mean:.0f}' + (f' {MARK}' if most > RATE_MAX_HZ else '')
      for mean, most in zip(row['all']['firing_rate_hz'], highest))


def _commits(row):
  """Returns the commits of a row's seeds."""
  words = sorted({(run['training']['commit'] or '?')[:COMMIT_DIGITS]
                  for run in row['seeds']})
  if any(run['training']['uncommitted_changes'] for run in row['seeds']):
    words.append('and changes')
  return ' '.join(words)


def _config(row):
  """Returns the config with what was changed, as short as can be."""
  path = row['config'].removeprefix('configs/')
  words = [f'{name}={value}' for name, value in row['overrides'].items()]
  if len(words) > MOST_FIELDS:
    words = []  # the label says it, and table.json
  if not row['of']:
    words = [path, *words]
  code = ' '.join(f'`{word}`' for word in words)
  if not row['of']:
    return code
  if row['params'] == row['of']:  # a run or a file
    return ', '.join(filter(None, [f'`{path}` with `{row["of"]}`', code]))
  state = 'as trained' if row['params'] == 'trained' else 'untrained'
  return ', '.join(filter(None, [f'{row["of"]} {state}', code]))


def _change(result):
  """Returns '+0.012 ± 0.003'."""
  text = number(result)
  return f'+{text}' if text and result['mean'] >= 0 else text


def _seeds(row):
  return ', '.join(str(run['seed']) for run in row['seeds']) + (
      f' ({len(row["missing"])} missing)' if row['missing'] else '')


def _required(row, *times):
  """Returns the required score and whether it was reached."""
  better = (lambda a, b: a >= b) if (
      row['seeds'][0]['metric'] == 'accuracy') else (lambda a, b: a <= b)
  words = []
  for time in times:
    if time in row['wanted']:
      goal, found = row['wanted'][time], row['all'][
          'after_by_time_s'].get(time)
      verdict = '' if found is None else (
          ', met' if better(found['mean'], goal) else ', not met')
      at = f'{span(time)}: ' if time != times[0] else ''
      words.append(f'{at}{goal:g}{verdict}')
  return '; '.join(words)


def _notes(table):
  """Returns what the columns and the marks in the cells mean."""
  return (
      'K: support samples of a task. Devices: those per polarity, of hidden '
      'layers and the output layer. "required" is met, or not, by the mean. '
      '"float ridge": a ridge regression in float on the features of the same '
      'nets, without noise. "pulses" and "written": pulses and devices for one '
      f'task. {MARK}: a seed has a mean rate above {RATE_MAX_HZ:g} Hz in that '
      'layer. "training" is the wall time of one seed, without its test. The '
      'second table evaluates nets of the first again, and "change" is the '
      'difference to them, paired by seed. table.json holds every seed with '
      'the interval over its chips, and both intervals of each mean.')


def _missing(table):
  """Yields a line for each run without a result."""
  for row in table['cases']:
    for run in row['missing']:
      yield f'{row["name"]}, seed {run["seed"]}: {run["why"]}'


def _references(rows):
  """Yields the lines of the table of others."""
  yield 'For comparison, not run here:'
  yield ''
  yield _line(rows[0])
  yield _line('---' for _ in rows[0])
  for row in rows:
    yield _line(row[name] for name in rows[0])


def _line(cells):
  return '| ' + ' | '.join(str(x).replace('|', '\\|') for x in cells) + ' |'
