"""Figure of a study over axes: error against the values of a field."""

import pathlib
from typing import Any

import numpy as np

from meta_analog.reporting import style
from meta_analog.studies import markdown

LOG_SPAN = 8.0  # of an axis, from which it is logarithmic
LOG_ERRORS = 3.0  # likewise of errors


def draw(path: pathlib.Path, table: dict[str, Any]) -> None:
  """Draws the first axis along x, one line for each value of the others.

  Means over seeds with their intervals, at the first and the last time of the
  test; with one axis, the score before adaptation as well.

  Args:
    path: of the picture, a PNG whatever its name.
    table: what table.json holds, its 'axes' not empty.
  """
  (field, values), *others = table['axes'].items()
  rows = [row for row in table['cases'] if row['axis'] and row['all']]
  times = [f'{table["times_s"][i]:.12g}' for i in (0, -1)]
  times = list(dict.fromkeys(times))
  with style.figure(path, 1, len(times), sharey=True, figsize=(
      1.0 + 3.8 * len(times), 3.4)) as (_, axes):
    if not rows:
      axes[0, 0].text(0.5, 0.5, 'no run is finished', ha='center')
    places = positions(values)
    for axis, time in zip(axes[0], times):
      lines = _lines(rows, field, places, time)
      colors = style.ordered_colors(len(lines))
      for (name, line), color in zip(lines.items(), colors):
        _draw_line(axis, line, color, name)
      if not others:
        _before(axis, rows, field, places)
      axis.set(title=f'{markdown.span(time)} after programming', xlabel=field)
      axis.grid(color=style.FAINT, lw=0.6)
    if rows:
      metric = rows[0]['seeds'][0]['metric']
      axes[0, 0].set_ylabel(f'query {metric}, mean over seeds, 95 %')
      axes[0, 0].legend()
      for axis in axes[0]:
        _scale(axis, values, list(places.values()))
      _scale_errors(axes[0, 0], metric, rows, times)


def positions(values: list[str]) -> dict[str, float]:
  """Returns the abscissa of each value: itself, or its place in the order.

  Args:
    values: of an axis, as on the command line.
  """
  try:
    numbers = [float(value) for value in values]
  except ValueError:
    numbers = []
  if not numbers or not np.all(np.isfinite(numbers)):
    numbers = [float(i) for i in range(len(values))]
  return dict(zip(values, numbers))


def _lines(rows, field, places, time):
  """Returns {values of the other axes: [(x, mean, half of the interval)]}."""
  found = {}
  for row in rows:
    result = row['all']['after_by_time_s'].get(time)
    if result is not None:
      name = ', '.join(f'{other} = {value}' for other, value in row[
          'axis'].items() if other != field) or 'after adaptation'
      found.setdefault(name, []).append((
          places[row['axis'][field]], result['mean'], result['ci95'] or 0.0))
  return {name: sorted(line) for name, line in found.items()}


def _draw_line(axis, line, color, name):
  x, y, half = zip(*line)
  axis.errorbar(x, y, yerr=style.interval_lengths(y, half), color=color,
                marker='o', label=name)


def _before(axis, rows, field, places):
  """Draws the scores before adaptation."""
  points = sorted((places[row['axis'][field]], row['all']['before']['mean'])
                  for row in rows)
  if points:
    axis.plot(*zip(*points), 'x--', color=style.BEFORE,
              label='before adaptation')


def _scale(axis, values, places):
  """Sets the scale of x and its ticks."""
  if min(places) > 0 and max(places) >= LOG_SPAN * min(places):
    axis.set_xscale('log')
  axis.set_xticks(places, values)
  axis.minorticks_off()


def _scale_errors(axis, metric, rows, times):
  """Makes the errors' axis logarithmic where their means span much."""
  found = [row['all']['after_by_time_s'].get(time) for row in rows
           for time in times]
  means = [result['mean'] for result in found if result]
  if metric != 'accuracy' and 0 < LOG_ERRORS * min(means) < max(means):
    axis.set_ylim(bottom=0.5 * min(means))
    style.plain_log(axis.yaxis)
