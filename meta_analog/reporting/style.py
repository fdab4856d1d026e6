"""Style of all figures: fonts, colours, sizes and tick labels."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import pathlib
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib import ticker
import numpy as np

from meta_analog.core import errors

matplotlib.use('Agg')

# Told apart by people who are colour-blind as well, and in grey.
BEFORE, AFTER, LATER, TRUTH = '#9a9a9a', '#c0392b', '#2471a3', '#2c3e50'
SUPPORT = '#d68910'
POSITIVE, NEGATIVE = AFTER, LATER  # polarity of a conductance
MODEL, OTHER, SPREAD, MEASURED = AFTER, LATER, '#555555', 'black'
RIGHT, WRONG, GIVEN = '#1e8449', '#c0392b', TRUTH  # answers; the support set
FAINT = '#d5d5d5'  # lines to read values by

SMALL = 8  # points, of all text but titles and labels of axes
RC = {
    'axes.axisbelow': True,
    'axes.labelsize': 9,
    'axes.linewidth': 0.7,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlesize': 9,
    'errorbar.capsize': 3,
    'figure.constrained_layout.use': True,
    'figure.titlesize': 10,
    'font.size': 9,
    'legend.fontsize': SMALL,
    'legend.frameon': False,
    'lines.linewidth': 1.3,
    'lines.markersize': 4.5,
    'savefig.dpi': 150,
    'xtick.labelsize': SMALL,
    'ytick.labelsize': SMALL,
}


@contextlib.contextmanager
def figure(
    path: pathlib.Path, num_rows: int = 1, num_columns: int = 1, **kwargs: Any
) -> Iterator[tuple[plt.Figure, np.ndarray]]:
  """Gives a figure to draw in; writes it as PNG when the block is left.

  Args:
    path: of the picture; its folder is made where it is not there.
    num_rows: of axes.
    num_columns: of axes.
    **kwargs: of plt.subplots, such as figsize in inches.

  Yields:
    The figure and its axes [num_rows, num_columns].
  """
  with matplotlib.rc_context(RC):
    drawn, axes = plt.subplots(num_rows, num_columns, squeeze=False, **kwargs)
    try:
      yield drawn, axes
      path.parent.mkdir(parents=True, exist_ok=True)
      drawn.savefig(path, format='png')
    finally:
      plt.close(drawn)


def draw(
    path: pathlib.Path, draw_fn: Callable[[pathlib.Path], None],
    log: Callable[[str], None]
) -> bool:
  """Draws a figure, or warns that it cannot be drawn; returns whether it was.

  Args:
    path: of the picture; one that fails is not there afterwards, not even that
      of another time.
    draw_fn: draws it at a path.
    log: prints a line.
  """
  try:
    draw_fn(path)
    return True
  except Exception as error:  # No figure is worth a result.
    with contextlib.suppress(OSError):
      path.unlink(missing_ok=True)
    log(f'Warning: {path} cannot be drawn: {errors.reason(error)}.')
    return False


def ordered_colors(number: int) -> list[Any]:
  """Returns colours of so many lines in order, told apart in grey as well."""
  if number == 1:
    return [AFTER]
  return list(matplotlib.colormaps['viridis'](np.linspace(0.0, 0.85, number)))


def interval_lengths(
    means: Sequence[float], halves: Sequence[float]
) -> tuple[list[float], list[float]]:
  """Returns the lengths of intervals downwards and upwards, for `errorbar`.

  On a logarithmic axis an interval that holds 0 runs to the edge.

  Args:
    means: of the points.
    halves: of their intervals.
  """
  low = [min(half, (1.0 - 1e-6) * abs(mean))
         for mean, half in zip(means, halves)]
  return low, list(halves)


def plain_log(axis: Any) -> None:
  """Makes an x or y axis logarithmic, with ticks as plain numbers.

  Args:
    axis: `axes.xaxis` or `axes.yaxis`, its data drawn.
  """
  getattr(axis.axes, f'set_{axis.axis_name}scale')('log')
  low, high = np.log10(axis.get_view_interval())
  steps = (1.0,) if high - low > 2.5 else (1.0, 2.0, 5.0)
  if high - low < 1.0:
    steps = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
  axis.set_major_locator(ticker.LogLocator(subs=steps))
  axis.set_major_formatter(lambda value, _: f'{value:g}')
  axis.set_minor_formatter(ticker.NullFormatter())


def label_lines(axes: Any, lines: dict[str, float], color: str) -> None:
  """Draws horizontal lines, each with its name beside the axes.

  Args:
    axes: its limits and scales are those at the end.
    lines: {name: ordinate}.
    color: of lines and names.
  """
  last = -np.inf  # as a fraction of the axes' height
  for name, value in sorted(lines.items(), key=lambda item: item[1]):
    axes.axhline(value, color=color, ls=':', lw=1.0)
    place = axes.transAxes.inverted().transform(
        axes.transData.transform((1.0, value)))[1]
    last = max(place, last + 0.05)
    axes.text(1.01, last, name, color=color, fontsize=SMALL, va='center',
              transform=axes.transAxes)
