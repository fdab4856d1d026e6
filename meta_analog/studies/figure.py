"""Figure of a study: the error of each row, with its interval."""

import pathlib
from typing import Any

from meta_analog.reporting import style
from meta_analog.studies import markdown

BEFORE, AFTER, LATER = style.BEFORE, style.AFTER, style.LATER
REQUIRED = style.TRUTH
ROW_INCHES = 0.34
GROUP_ROWS = 0.8  # between two groups, in rows


def draw(path: pathlib.Path, table: dict[str, Any]) -> None:
  """Draws a table, one panel for each task, metric and number of samples.

  Args:
    path: of the picture, a PNG whatever its name.
    table: what table.json holds.
  """
  kinds = markdown.kinds(table)
  heights = [_height(rows) for rows in kinds.values()] or [2.0]
  with style.figure(
      path, len(heights), 1, height_ratios=heights, figsize=(
          9.5, ROW_INCHES * sum(heights) + 1.6 * len(heights))) as (_, axes):
    for axis, (kind, rows) in zip(axes[:, 0], kinds.items()):
      _panel(axis, table, kind, rows)
    if not kinds:
      axes[0, 0].text(0.5, 0.5, 'no run is finished', ha='center')
      axes[0, 0].set_axis_off()


def _height(rows):
  groups = {row['group'] for row in rows}
  return len(rows) + GROUP_ROWS * len(groups)


def _places(rows):
  """Returns the ordinate of each row and of each group's title, downwards."""
  places, titles, y, group = [], [], 0.0, None
  for row in rows:
    if row['group'] != group:
      group = row['group']
      titles.append((y + 0.1, group))
      y += GROUP_ROWS
    places.append(y)
    y += 1.0
  return places, titles


def _panel(axis, table, kind, rows):
  """Draws the rows of one task."""
  task, metric, support_size = kind
  first, last = (f'{table["times_s"][i]:.12g}' for i in (0, -1))
  places, titles = _places(rows)
  at = lambda name: [row['all']['after_by_time_s'].get(name)
                     for row in rows]
  axis.plot([row['all']['before']['mean'] for row in rows], places, 'x',
            color=BEFORE, ms=5, label='before adaptation')
  if last != first:
    _bars(axis, places, at(last), 0.18, LATER, 'o', 3.5,
          f'{markdown.span(last)} after', mfc='white')
  for y, row in zip(places, rows):
    values = [run['after_by_time_s'][first]['mean'] for run in row['seeds']
              if first in run['after_by_time_s']]
    axis.plot(values, [y - 0.22] * len(values), '|', color=AFTER, ms=5)
  _bars(axis, places, at(first), 0.0, AFTER, 'o', 5,
        f'after, at {markdown.span(first)} (a stroke for each seed)')
  points = [(row['wanted'][first], y) for y, row in zip(places, rows)
            if first in row['wanted']]
  if points:
    x, y = zip(*points)
    axis.plot(x, y, 'd', color=REQUIRED, ms=5, mfc='none', label='required')
  axis.set_yticks(places, [row['label'] for row in rows], fontsize=8)
  axis.set(ylim=(places[-1] + 0.8, -0.5),
           xlabel=f'{task}, {support_size} support samples: query {metric}, '
                  'mean over seeds, 95 %')
  for y, title in titles:
    axis.text(0.005, y, title, fontsize=8, weight='bold', va='center',
              transform=axis.get_yaxis_transform())
  if metric != 'accuracy':
    axis.set_xlim(left=0.5 * min(
        result['mean'] for row in rows
        for result in row['all']['after_by_time_s'].values()))
    style.plain_log(axis.xaxis)
  axis.grid(axis='x', color='#e5e5e5', lw=0.6)
  axis.legend(loc='lower center', ncols=4,
              bbox_to_anchor=(0.35, 1.0))


def _bars(axis, places, results, shift, color, marker, size, label, mfc=None):
  """Draws means with intervals, those that there are."""
  points = [(y + shift, r['mean'], r['ci95'] or 0.0)
            for y, r in zip(places, results) if r is not None]
  if points:
    y, x, half = zip(*points)
    axis.errorbar(x, y, xerr=style.interval_lengths(x, half), color=color,
                  marker=marker, ms=size, mfc=mfc or color, ls='none',
                  capsize=2, lw=1.2, label=label)
