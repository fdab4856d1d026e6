"""What a run tells while it runs: metrics.jsonl, TensorBoard, the terminal."""

import json
import pathlib
import time
from typing import Any

import rich.console
import rich.progress
import tensorboardX

LINE_EVERY_S = 15.0  # a log file gets a line this often


class Metrics:
  """Writes training metrics to metrics.jsonl and to TensorBoard."""

  def __init__(self, workdir: pathlib.Path, first_step: int = 0):
    """Opens the files; lines of `first_step` and later are dropped.

    Args:
      workdir: of the run.
      first_step: the step that training goes on from.
    """
    path = workdir / 'metrics.jsonl'
    kept = [line for line in read(path) if line['step'] <= first_step]
    with path.open('w') as file:
      file.writelines(json.dumps(line) + '\n' for line in kept)
    self._file = path.open('a')
    self._board = tensorboardX.SummaryWriter(
        str(workdir / 'tensorboard'), purge_step=first_step)

  def write(self, step: int, values: dict[str, Any]) -> None:
    """Appends one line and flushes it.

    Args:
      step: number of training steps taken.
      values: floats or flat arrays.
    """
    line = {name: value.tolist() if hasattr(value, 'tolist') else value
            for name, value in values.items()}
    self._file.write(json.dumps({'step': step, **line}) + '\n')
    self._file.flush()
    for name, value in line.items():
      for i, x in enumerate(value if isinstance(value, list) else [value]):
        tag = f'{name}/{i}' if isinstance(value, list) else name
        self._board.add_scalar(tag, x, step)

  def close(self) -> None:
    """Closes the files."""
    self._file.close()
    self._board.close()


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the lines of a metrics file; a half-written last line is left."""
  lines = []
  if path.is_file():
    for text in path.read_text().splitlines():
      try:
        lines.append(json.loads(text))
      except json.JSONDecodeError:
        break
  return lines


class Progress:
  """A progress bar on a terminal, a line now and then in a log file."""

  def __init__(
      self, console: rich.console.Console, total: int, done: int, what: str
  ):
    """Starts.

    Args:
      console: where to write.
      total: number of steps.
      done: steps done before.
      what: a short word for the steps.
    """
    self._console, self._total = console, total
    self._what = what
    self._last, self._first = time.monotonic(), None
    self._bar = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
          rich.progress.TextColumn('{task.description}'),
          rich.progress.BarColumn(),
          rich.progress.TextColumn('{task.completed}/{task.total}'),
          rich.progress.TextColumn('{task.fields[note]}'),
          rich.progress.TimeElapsedColumn(),
          rich.progress.TextColumn('left'),
          rich.progress.TimeRemainingColumn(),
          console=console)
      self._bar.start()
      self._task = self._bar.add_task(
          what, total=total, completed=done, note='compiling')
    else:
      console.print(f'{what}: step {done}/{total}, compiling')

  def update(self, step: int, note: str = '') -> None:
    """Shows that `step` steps are done."""
    if self._bar is not None:
      fields = {'note': note} if note else {}
      self._bar.update(self._task, completed=step, **fields)
      return
    now = time.monotonic()
    if note and (now - self._last >= LINE_EVERY_S or step == self._total):
      self._last = now
      self._console.print(f'{self._what}: step {step}/{self._total}, {note}'
                          f'{self._left(step, now)}')

  def _left(self, step, now):
    """Returns the time left in words, from the steps since the first."""
    if self._first is None:  # the first step compiles: it says nothing
      self._first = (step, now)
      return ''
    rate = (step - self._first[0]) / max(now - self._first[1], 1e-9)
    return f', {(self._total - step) / max(rate, 1e-9):.0f} s left'

  def close(self) -> None:
    """Ends the bar."""
    if self._bar is not None:
      self._bar.stop()
