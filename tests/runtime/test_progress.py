"""Progress: a bar that fits its terminal, lines in a log, times with a name."""

import io

import pytest

from meta_analog.experiment import workdir
from meta_analog.reporting import terminal
from meta_analog.runtime import metrics


class _Screen(io.StringIO):

  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """Seconds that `metrics` and `rich` read; to be set."""
  seconds = [0.0]
  monkeypatch.setattr(metrics.time, 'monotonic', lambda: seconds[0])
  return seconds


def _shown(file):
  """Returns the last line that the screen showed, without its colours."""
  text = terminal.rich.console.Text.from_ansi(
      file.getvalue().replace('\r', '\n')).plain
  return [line for line in text.splitlines() if line.strip()][-1]


@pytest.mark.parametrize('columns', [80, 60])
def test_a_bar_of_a_long_run_fits_the_terminal(columns, clock, monkeypatch):
  monkeypatch.setenv('COLUMNS', str(columns))
  monkeypatch.setenv('TERM', 'xterm')
  file = _Screen()
  progress = metrics.Progress(
      terminal.console(file), 12_000, 0, 'Meta-training')
  for step, seconds in ((1, 10), (6000, 4000)):
    clock[0] = seconds
    progress.update(step, 'query loss 0.064', '382 tasks/s')
  progress.close()
  line = _shown(file)
  assert len(line) <= columns
  if columns == 80:
    assert line.startswith('Meta-training ━')
    assert line.rstrip().endswith(
        '6000/12000 query loss 0.064 1:06:40 elapsed, 1:06:31 left')


def test_a_log_says_which_time_passed_and_which_is_left(clock):
  file = io.StringIO()
  progress = metrics.Progress(terminal.console(file), 300, 0, 'Meta-training')
  for step, seconds in ((1, 8), (100, 107), (200, 110), (300, 307)):
    clock[0] = seconds
    progress.update(step, f'query loss 0.{step}', '32 tasks/s')
  progress.close()
  assert file.getvalue().splitlines() == [
      'Meta-training: step 0/300, compiling',
      'Meta-training: step 100/300, query loss 0.100, 32 tasks/s, '
      '1:47 elapsed, 3:20 left',
      'Meta-training: step 300/300, query loss 0.300, 32 tasks/s, 5:07 elapsed']


def test_all_that_was_written_is_named(tmp_path):
  for name in ('summary.json', 'run.json', '.lock'):
    (tmp_path / name).touch()
  (tmp_path / 'figures').mkdir()
  assert workdir.contents(tmp_path) == 'figures/, run.json, summary.json'
