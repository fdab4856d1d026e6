"""Figures of a run: what lies on the axes, and that a picture is written."""

import numpy as np
import pytest

from meta_analog.reporting import run_figures
from meta_analog.reporting import style


@pytest.fixture
def drawn(monkeypatch):
  """The axes of each figure, as they are when it is written."""
  found, close = [], style.plt.close

  def keep(figure):
    figure.canvas.draw()
    found.append(figure.axes)
    close(figure)

  monkeypatch.setattr(style.plt, 'close', keep)
  return found


@pytest.mark.parametrize('low, high', [(2.0, 7.0), (0.03, 3.0), (1e-4, 1e3)])
def test_ticks_of_a_log_axis_are_plain_numbers(drawn, low, high, tmp_path):
  with style.figure(tmp_path / 'new' / 'figure.png') as (_, axes):
    axes[0, 0].plot([0, 1], [low, high])
    style.plain_log(axes[0, 0].yaxis)
  assert (tmp_path / 'new' / 'figure.png').stat().st_size > 1000
  labels = [label.get_text() for label in drawn[0][0].get_yticklabels(
      which='both') if label.get_text()]
  shown = [float(label) for label in labels]
  assert sum(low <= value <= high for value in shown) >= 2


def test_outputs_are_means_over_chips_in_bands_of_their_spread(
    drawn, tmp_path):
  x = np.linspace(-5.0, 5.0, 4)[None]
  chips = x[:, None] + np.array([-0.5, 0.0, 2.0])[:, None]  # [B, C, M]
  run_figures.adaptation(
      tmp_path / 'adaptation.png', x=x, truth=x, before=0 * chips, after=chips,
      support_x=x[:, 1:], support_y=x[:, 1:])
  axis, = drawn[0]
  lines = {line.get_label(): line for line in axis.get_lines()}
  np.testing.assert_allclose(lines['after adaptation'].get_ydata(), x[0] + 0.5)
  np.testing.assert_array_equal(lines['truth'].get_xdata(), x[0])
  assert lines['support set'].get_linestyle() == 'None'
  assert len({line.get_color() for line in lines.values()}) == 4
  band = axis.collections[1].get_paths()[0].get_extents()
  std = chips.std(axis=1).max()
  assert band.ymax == pytest.approx(5.5 + std)
  assert axis.get_title() == 'mean squared error 1.417'  # (0.25 + 0 + 4) / 3


def test_nothing_is_hidden_under_an_interval(drawn, tmp_path):
  summary = {
      'metric': 'mse', 'before': {'mean': 0.9},
      'baselines': {'float_ridge': {'mean': 0.101}},
      'after_by_time_s': {'151': {'mean': 0.1, 'ci95': 0.05},
                          '3600': {'mean': 0.1, 'ci95': 0.05}}}
  run_figures.loss_over_time(tmp_path / 'time.png', summary, 101.0)
  axis = drawn[0][0]
  assert not axis.containers  # of error bars, opaque
  band, = axis.collections
  assert band.get_alpha() < 0.5
  assert band.get_zorder() < min(line.get_zorder() for line in axis.get_lines())


@pytest.mark.parametrize('metric', ('mse', 'accuracy'))
def test_the_time_since_adaptation_is_in_words(drawn, metric, tmp_path):
  summary = {
      'metric': metric, 'before': {'mean': 0.9},
      'baselines': {'float_ridge': {'mean': 0.01}},
      'after_by_time_s': {
          '151': {'mean': 0.1, 'ci95': 0.02},
          '3600': {'mean': 0.2, 'ci95': None},
          '31536000': {'mean': 0.3, 'ci95': 0.02}}}
  run_figures.loss_over_time(tmp_path / 'time.png', summary, 101.0)
  axis = drawn[0][0]
  assert [label.get_text() for label in axis.get_xticklabels()] == [
      '1 minute', '1 hour', '1 day', '1 month', '1 year']
  names = [text.get_text() for text in axis.texts]
  assert ('before' in names) == (metric == 'mse') and 'float ridge' in names
