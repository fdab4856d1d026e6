"""The table of a grid as text, from what table.json holds alone."""

from collections.abc import Iterator
import math
from typing import Any

import rich.table

from meta_analog.studies import statistics

RATE_MAX_HZ = 200.0  # the most that a row may have without a mark
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
    For each task and metric a table of the cases that were trained and one of
    those that test their nets again; beneath what the interval is, what is
    missing, and the numbers of others.
  """
  parts = []
  for (task, metric), cases in _families(table).items():
    parts.append(_heading(table, task, metric, cases))
    for of in (False, True):
      mine = [case for case in cases if bool(case['of']) == of]
      if mine:
        parts.append('\n'.join(_table(table, mine, tested=of)))
    parts += _simple(cases)
  parts.append(table['interval'] + ' ' + _notes(table))
  missing = list(_missing(table))
  if missing:
    parts.append('Missing:\n\n' + '\n'.join(f'- {line}' for line in missing))
  if table['references']:
    parts.append('\n'.join(_references(table['references'])))
  return '\n\n'.join(parts) + '\n'


def kinds(table: dict[str, Any]) -> dict[tuple, list[dict[str, Any]]]:
  """Returns the cases that have a result, by (task, metric, samples)."""
  found = {}
  for case in table['cases']:
    if case['all'] is not None:
      first = case['seeds'][0]
      found.setdefault((first['task'], first['metric'],
                        first['support_size']), []).append(case)
  return found


def terminal(table: dict[str, Any]) -> rich.table.Table:
  """Returns the columns that matter most, for a terminal."""
  out = rich.table.Table(title='means over seeds, 95 %')
  time = main_time(table)
  for name in ('case', 'seeds', 'before', f'after, {span(time)}', 'wanted'):
    out.add_column(name)
  for case in table['cases']:
    if case['all'] is None:
      out.add_row(case['name'], 'none')
      continue
    out.add_row(case['name'], _seeds(case), number(case['all']['before']),
                number(case['all']['after_by_time_s'].get(time)),
                _wanted(case, time))
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
  """Returns the cases that have a result, by (task, metric)."""
  found = {}
  for case in table['cases']:
    if case['all'] is not None:
      first = case['seeds'][0]
      found.setdefault((first['task'], first['metric']), []).append(case)
  return found


def _heading(table, task, metric, cases):
  """Returns what the numbers of a table are."""
  first = cases[0]['seeds'][0]
  return (f'{task}: query {metric} on {first["num_tasks"]} held-out tasks and '
          f'{first["num_chips"]} fresh chips for each seed, '
          f'{span(main_time(table))} after programming and later.')


def _table(table, cases, *, tested) -> Iterator[str]:
  """Yields the lines of one table."""
  times = [f'{time_s:.12g}' for time_s in table['times_s']]
  rows = [(_tested_cells if tested else _trained_cells)(case, times)
          for case in cases]
  yield _line(rows[0])
  yield _line('---' for _ in rows[0])
  group = None
  for case, cells in zip(cases, rows):
    if case['group'] != group:
      group = case['group']
      if group:
        yield _line([f'**{group}**'] + [''] * (len(cells) - 1))
    yield _line(cells.values())


def _simple(cases):
  """Returns a sentence with what simple predictors reach, if there are any."""
  simple = {name: result for name, result in cases[0]['all'][
      'baselines'].items() if name != RIDGE}
  return [f'On the tasks of {cases[0]["name"]}: ' + ', '.join(
      f'{name} {number(result)}' for name, result in simple.items()) + '.'
         ] if simple else []


def _trained_cells(case, times):
  """Returns the cells of a case that was trained, by their column."""
  all_, last = case['all'], case['seeds'][-1]
  after = all_['after_by_time_s']
  return {
      'case': case['label'], 'config': _config(case),
      'K': f'{last["support_size"]}',
      'devices': ', '.join(map(str, last['devices_per_polarity'])),
      'widths': ', '.join(
          [f'{channels} of {side} x {side}'
           for channels, side, _ in last.get('convolutions', [])]
          + [str(size) for size in last['hidden_sizes']]),
      'seeds': _seeds(case), 'before': number(all_['before']),
      f'after, {span(times[0])}': number(after.get(times[0])),
      'wanted': _wanted(case, *times),
      **{span(time): number(after.get(time)) for time in times[1:]},
      'float ridge': number(all_['baselines'].get(RIDGE)),
      'pulses': f'{all_["pulses_per_task"]:.0f}',
      'written': f'{all_["devices_written_per_task"]:.0f} of '
                 f'{last["write"]["devices_total"]}',
      'rates (Hz)': _rates(case),
      'training': '' if all_['wall_s'] is None else duration(all_['wall_s']),
      'commit': _commits(case)}


def _tested_cells(case, times):
  """Returns the cells of a case that tests nets again, by their column."""
  all_ = case['all']
  after = all_['after_by_time_s']
  return {
      'case': case['label'], 'nets and conditions': _config(case),
      'seeds': _seeds(case),
      f'after, {span(times[0])}': number(after.get(times[0])),
      'change': _change(all_.get('change')), 'wanted': _wanted(case, *times),
      **{span(time): number(after.get(time)) for time in times[1:]},
      'pulses': _pulses(case, times), 'rates (Hz)': _rates(case),
      'commit': _commits(case)}


def _pulses(case, times):
  """Returns pulses per task, and those of adapting anew at each time."""
  text = f'{case["all"]["pulses_per_task"]:.0f}'
  anew = case['all'].get(statistics.ANEW) or {}
  more = [f'{anew[time]:.0f}' for time in times[1:] if time in anew]
  return text + (f', then {", ".join(more)}' if more else '')


def _rates(case):
  """Returns the mean rate of each layer, marked where any seed has too much."""
  highest = [max(rates) for rates in zip(
      *(row['firing_rate_hz'] for row in case['seeds']))]
  return ', '.join(
      f'{mean:.0f}' + (f' {MARK}' if most > RATE_MAX_HZ else '')
      for mean, most in zip(case['all']['firing_rate_hz'], highest))


def _commits(case):
  """Returns the commits of a case's seeds."""
  words = sorted({(row['training']['commit'] or '?')[:COMMIT_DIGITS]
                  for row in case['seeds']})
  if any(row['training']['uncommitted_changes'] for row in case['seeds']):
    words.append('and changes')
  return ' '.join(words)


def _config(case):
  """Returns the config with what was changed, as short as can be."""
  path = case['config'].removeprefix('configs/')
  words = [f'{name}={value}' for name, value in case['overrides'].items()]
  if len(words) > MOST_FIELDS:
    words = []  # the label says it, and table.json
  if not case['of']:
    words = [path, *words]
  code = ' '.join(f'`{word}`' for word in words)
  if not case['of']:
    return code
  state = 'as trained' if case['params'] == 'trained' else 'untrained'
  return ', '.join(filter(None, [f'{case["of"]} {state}', code]))


def _change(result):
  """Returns '+0.012 ± 0.003'."""
  text = number(result)
  return f'+{text}' if text and result['mean'] >= 0 else text


def _seeds(case):
  return ', '.join(str(row['seed']) for row in case['seeds']) + (
      f' ({len(case["missing"])} missing)' if case['missing'] else '')


def _wanted(case, *times):
  """Returns what was aimed at and whether it was reached."""
  better = (lambda a, b: a >= b) if (
      case['seeds'][0]['metric'] == 'accuracy') else (lambda a, b: a <= b)
  words = []
  for time in times:
    if time in case['wanted']:
      goal, found = case['wanted'][time], case['all'][
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
      'layers and the output layer. "wanted" is met, or not, by the mean. '
      '"float ridge": a ridge regression in float on the features of the same '
      'nets, without noise. "pulses" and "written": pulses and devices for one '
      f'task. {MARK}: a seed has a mean rate above {RATE_MAX_HZ:g} Hz in that '
      'layer. "training" is the wall time of one seed, without its test. The '
      'second table tests nets of the first again, and "change" is the '
      'difference to them, paired by seed. table.json holds every seed with '
      'the interval over its chips, and both intervals of each mean.')


def _missing(table):
  """Yields a line for each job without a result."""
  for case in table['cases']:
    for row in case['missing']:
      yield f'{case["name"]}, seed {row["seed"]}: {row["why"]}'


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
