"""The figure of a grid: a row for each case, its error with its interval."""

import pathlib
from typing import Any

from meta_analog.reporting import style
from meta_analog.studies import markdown

BEFORE, AFTER, LATER = style.BEFORE, style.AFTER, style.LATER
WANTED = style.TRUTH
ROW_INCHES = 0.34
GROUP_ROWS = 0.8  # between two groups, in rows


def draw(path: pathlib.Path, table: dict[str, Any]) -> None:
  """Draws a table, one panel for each task, metric and number of samples.

  Args:
    path: of the picture, a PNG whatever its name.
    table: what table.json holds.
  """
  kinds = markdown.kinds(table)
  heights = [_height(cases) for cases in kinds.values()] or [2.0]
  with style.figure(
      path, len(heights), 1, height_ratios=heights, figsize=(
          9.5, ROW_INCHES * sum(heights) + 1.6 * len(heights))) as (_, axes):
    for axis, (kind, cases) in zip(axes[:, 0], kinds.items()):
      _panel(axis, table, kind, cases)
    if not kinds:
      axes[0, 0].text(0.5, 0.5, 'no run is finished', ha='center')
      axes[0, 0].set_axis_off()


def _height(cases):
  groups = {case['group'] for case in cases}
  return len(cases) + GROUP_ROWS * len(groups)


def _places(cases):
  """Returns the ordinate of each case and of each group's title, downwards."""
  rows, titles, y, group = [], [], 0.0, None
  for case in cases:
    if case['group'] != group:
      group = case['group']
      titles.append((y + 0.1, group))
      y += GROUP_ROWS
    rows.append(y)
    y += 1.0
  return rows, titles


def _panel(axis, table, kind, cases):
  """Draws the cases of one task."""
  task, metric, support_size = kind
  first, last = (f'{table["times_s"][i]:.12g}' for i in (0, -1))
  rows, titles = _places(cases)
  at = lambda name: [case['all']['after_by_time_s'].get(name)
                     for case in cases]
  axis.plot([case['all']['before']['mean'] for case in cases], rows, 'x',
            color=BEFORE, ms=5, label='before adaptation')
  if last != first:
    _bars(axis, rows, at(last), 0.18, LATER, 'o', 3.5,
          f'{markdown.span(last)} after', mfc='white')
  for y, case in zip(rows, cases):
    values = [row['after_by_time_s'][first]['mean'] for row in case['seeds']
              if first in row['after_by_time_s']]
    axis.plot(values, [y - 0.22] * len(values), '|', color=AFTER, ms=5)
  _bars(axis, rows, at(first), 0.0, AFTER, 'o', 5,
        f'after, at {markdown.span(first)} (a stroke for each seed)')
  goals = [(case['wanted'][first], y) for y, case in zip(rows, cases)
           if first in case['wanted']]
  if goals:
    x, y = zip(*goals)
    axis.plot(x, y, 'd', color=WANTED, ms=5, mfc='none', label='wanted')
  axis.set_yticks(rows, [case['label'] for case in cases], fontsize=8)
  axis.set(ylim=(rows[-1] + 0.8, -0.5),
           xlabel=f'{task}, {support_size} support samples: query {metric}, '
                  'mean over seeds, 95 %')
  for y, title in titles:
    axis.text(0.005, y, title, fontsize=8, weight='bold', va='center',
              transform=axis.get_yaxis_transform())
  if metric != 'accuracy':
    axis.set_xlim(left=0.5 * min(
        result['mean'] for case in cases
        for result in case['all']['after_by_time_s'].values()))
    style.plain_log(axis.xaxis)
  axis.grid(axis='x', color='#e5e5e5', lw=0.6)
  axis.legend(loc='lower center', ncols=4,
              bbox_to_anchor=(0.35, 1.0))


def _bars(axis, rows, results, shift, color, marker, size, label, mfc=None):
  """Draws means with intervals, those that there are."""
  points = [(y + shift, r['mean'], r['ci95'] or 0.0)
            for y, r in zip(rows, results) if r is not None]
  if points:
    y, x, half = zip(*points)
    # On a log axis an interval that holds 0 runs to the edge.
    low = [min(h, (1.0 - 1e-6) * abs(m)) for m, h in zip(x, half)]
    axis.errorbar(x, y, xerr=(low, half), color=color, marker=marker, ms=size,
                  mfc=mfc or color, ls='none', capsize=2, lw=1.2, label=label)
