"""The table of a grid as text, from what table.json holds alone."""

from collections.abc import Iterator
import math
from typing import Any

import rich.table

RATE_MAX_HZ = 200.0  # the most that a row may have without a mark
MARK = '(!)'
UNITS = (('year', 31536000), ('day', 86400), ('h', 3600), ('min', 60))
COMMIT_DIGITS = 10
COLUMNS = ('case', 'config', 'devices per polarity (hidden, output)',
           'hidden widths', 'seeds', 'before')
RIDGE = 'float_ridge'  # the baseline that is a column
LATER = ('ridge in float, same features', 'pulses per task', 'devices written',
         'mean rates (Hz)', 'training', 'commit')


def document(table: dict[str, Any]) -> str:
  """Returns table.md.

  Args:
    table: what table.json holds.

  Returns:
    A table for each task, metric and number of support samples; beneath what
    the interval is, what is missing, and the numbers of others.
  """
  parts = ['\n'.join(_table(table, kind, cases))
           for kind, cases in kinds(table).items()]
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
  if half > 0:
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


def _table(table, kind, cases) -> Iterator[str]:
  """Yields the lines of one table."""
  task, metric, support_size = kind
  first = cases[0]['seeds'][0]
  times = [f'{time_s:.12g}' for time_s in table['times_s']]
  yield (f'{task}, {support_size} support samples, query {metric} on '
         f'{first["num_tasks"]} held-out tasks and {first["num_chips"]} fresh '
         'chips for each seed:')
  yield ''
  names = (*COLUMNS, f'after, {span(times[0])}', 'change', 'wanted',
           *(span(time) for time in times[1:]), *LATER)
  yield _line(names)
  yield _line('---' for _ in names)
  group = None
  for case in cases:
    if case['group'] != group:
      group = case['group']
      if group:
        yield _line([f'**{group}**'] + [''] * (len(names) - 1))
    yield _line(_cells(case, times))
  simple = {name: result for name, result in cases[0]['all'][
      'baselines'].items() if name != RIDGE}
  if simple:
    yield ''
    yield f'On the tasks of {cases[0]["name"]}: ' + ', '.join(
        f'{name} {number(result)}' for name, result in simple.items()) + '.'


def _cells(case, times):
  """Returns the cells of a case."""
  all_, last = case['all'], case['seeds'][-1]
  after = all_['after_by_time_s']
  at = [number(after.get(time)) for time in times]
  unlike = lambda name: sorted({str(row['training'][name] or '?')
                                for row in case['seeds']})
  commits = [f'{commit[:COMMIT_DIGITS]}' for commit in unlike('commit')]
  if any(row['training']['uncommitted_changes'] for row in case['seeds']):
    commits.append('and changes')
  return [
      case['label'], _config(case),
      ', '.join(map(str, last['devices_per_polarity'])),
      ', '.join(map(str, last['hidden_sizes'])), _seeds(case),
      number(all_['before']), at[0], _change(all_.get('change')),
      _wanted(case, *times), *at[1:],
      number(all_['baselines'].get(RIDGE)), f'{all_["pulses_per_task"]:.0f}',
      f'{all_["devices_written_per_task"]:.0f} of '
      f'{last["write"]["devices_total"]}',
      ', '.join(_rate(rate) for rate in all_['firing_rate_hz']),
      '' if all_['wall_s'] is None else duration(all_['wall_s']),
      ' '.join(commits)]


def _config(case):
  """Returns the config with what was changed, as short as can be."""
  path = case['config'].removeprefix('configs/')
  words = [f'{name}={value}' for name, value in case['overrides'].items()]
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


def _rate(rate_Hz):
  return f'{rate_Hz:.0f}' + (f' {MARK}' if rate_Hz > RATE_MAX_HZ else '')


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
  """Returns what the marks in the cells mean."""
  return (f'{MARK}: a mean rate above {RATE_MAX_HZ:g} Hz. "training" is the '
          'wall time of one seed, without its test; a row without one tests '
          'nets of another row again, and "change" is the difference to that '
          'row, paired by seed. table.json holds every seed with the '
          'interval over its chips, and both intervals of each mean.')


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
