"""Training metrics: metrics.jsonl, TensorBoard, wandb, a progress bar."""

from collections.abc import Iterator
import errno
import importlib
import os
import pathlib
import time
from typing import Any

import rich.console
import rich.progress
from tensorboardX import event_file_writer
from tensorboardX import summary as board_summary
from tensorboardX.proto import event_pb2
from tensorboardX.proto import summary_pb2

from meta_analog.core import errors
from meta_analog.runtime import atomic_files

LINE_EVERY_S = 15.0  # a log file gets a line this often
TIMING = 'timing'  # the key of what differs between identical runs


class Metrics:
  """Writes training metrics to metrics.jsonl, TensorBoard and, asked, wandb.

  Everything is on its way to the disk when `write` returns, and an error of
  the disk is raised there. (The thread of tensorboardX' own SummaryWriter dies
  on a full disk and leaves its caller waiting for ever.)
  """

  def __init__(
      self, workdir: pathlib.Path, lines: bytes = b'', first_step: int = 0,
      wandb_run: Any = None
  ):
    """Opens the files.

    Args:
      workdir: of the run.
      lines: of the steps so far, which replace what the file holds.
      first_step: the step that training resumes from.
      wandb_run: of `open_wandb`.
    """
    path = workdir / 'metrics.jsonl'
    with atomic_files.replacing(path) as partial:
      partial.write_bytes(lines)
    self._path = path
    self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
    self._wandb = wandb_run
    board = workdir / 'tensorboard'
    board.mkdir(exist_ok=True)
    self._board = event_file_writer.EventsWriter(
        str(board / 'events'), filename_suffix=f'.{time.time_ns()}')
    if first_step:  # What another file holds of later steps is void.
      self._event(first_step + 1, session_log=event_pb2.SessionLog(
          status=event_pb2.SessionLog.START))

  def write(self, step: int, values: dict[str, Any]) -> None:
    """Appends one line.

    Args:
      step: number of training steps taken.
      values: floats, None, arrays, and a dict of such under 'timing'.

    Raises:
      NonFiniteError: if a number is not finite; nothing is written.
      OSError: if the disk fails; the file then ends where it did.
    """
    line = {'step': step} | {
        name: value.tolist() if hasattr(value, 'tolist') else value
        for name, value in values.items()}
    end = os.fstat(self._file).st_size
    data = (atomic_files.json_text(line, self._path.name) + '\n').encode()
    try:
      if os.write(self._file, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC),
                      str(self._path))
    except OSError:
      os.ftruncate(self._file, end)
      raise
    scalars = dict(_scalars(line))
    del scalars['step']
    self._event(step, summary=summary_pb2.Summary(value=[
        board_summary.scalar(name, x).value[0]
        for name, x in scalars.items()]))
    self._board.flush()
    if self._wandb is not None:
      self._wandb.log(scalars, step=step)

  def content(self) -> bytes:
    """Returns all lines, once they are on disk."""
    os.fsync(self._file)
    return atomic_files.read_bytes(self._path)

  def close(self) -> None:
    """Closes the files."""
    os.close(self._file)
    self._board.close()
    if self._wandb is not None:
      self._wandb.finish()

  def _event(self, step, **what):
    self._board.write_event(
        event_pb2.Event(wall_time=time.time(), step=step, **what))


class NoMetrics:
  """Metrics of a process that writes none."""

  def write(self, step: int, values: dict[str, Any]) -> None:
    """Does nothing."""

  def content(self) -> bytes:
    """Returns no lines."""
    return b''

  def close(self) -> None:
    """Does nothing."""


def open_wandb(
    project: str, workdir: pathlib.Path, config: dict[str, Any]
) -> Any:
  """Returns a run of Weights & Biases; the only place that imports it.

  Args:
    project: its name there.
    workdir: of the run, for what wandb writes and for the run's name.
    config: to show.

  Returns:
    What `wandb.init` returns.

  Raises:
    InputError: if wandb is not installed.
  """
  try:
    wandb = importlib.import_module('wandb')
  except ImportError:
    raise errors.InputError(
        "--wandb needs the extra: python -m pip install -e '.[wandb]'"
    ) from None
  name = workdir.absolute().name
  return wandb.init(project=project, dir=str(workdir), config=config,
                    name=name, id=name, resume='allow')


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the lines of a metrics file; a half-written last one is not."""
  lines = []
  if path.is_file():
    for text in atomic_files.read_bytes(path).splitlines():
      try:
        lines.append(atomic_files.parse_json(text))
      except (ValueError, RecursionError):
        break
  return lines


def _scalars(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
  """Yields names and numbers, lists and dicts taken apart."""
  for name, value in values.items():
    if isinstance(value, dict):
      yield from ((f'{name}/{k}', x) for k, x in _scalars(value))
    elif isinstance(value, list):
      yield from _scalars({f'{name}/{i}': x for i, x in enumerate(value)})
    elif value is not None:
      yield name, value


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
    self._began = self._last = time.monotonic()
    self._first = None
    self._bar = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
          rich.progress.TextColumn('{task.description}'),
          rich.progress.BarColumn(bar_width=None),  # what the others leave
          rich.progress.TextColumn('{task.completed}/{task.total}'),
          rich.progress.TextColumn('{task.fields[note]}'),
          rich.progress.TextColumn('{task.fields[times]}'), console=console)
      self._bar.start()
      self._task = self._bar.add_task(
          what, total=total, completed=done, note='compiling', times='')
    else:
      console.print(f'{what}: step {done}/{total}, compiling')

  def update(self, step: int, note: str = '', more: str = '') -> None:
    """Shows that `step` steps are done.

    Args:
      step: number of steps.
      note: what is new of them, for bar and log.
      more: for the log alone, which has the room.
    """
    now = time.monotonic()
    times = self._times(step, now)
    if self._bar is not None:
      fields = {'note': note} if note else {}
      self._bar.update(self._task, completed=step, times=times, **fields)
      return
    if note and (now - self._last >= LINE_EVERY_S or step == self._total):
      self._last = now
      self._console.print(', '.join(filter(None, [
          f'{self._what}: step {step}/{self._total}', note, more, times])))

  def _times(self, step, now):
    """Returns in words the time that passed and that is left."""
    words = f'{_minutes(now - self._began)} elapsed'
    if self._first is None:  # the first step compiles: it says nothing
      self._first = (step, now)
      return words
    rate = (step - self._first[0]) / max(now - self._first[1], 1e-9)
    left_s = (self._total - step) / max(rate, 1e-9)
    return f'{words}, {_minutes(left_s)} left' if left_s else words

  def close(self) -> None:
    """Ends the bar."""
    if self._bar is not None:
      self._bar.stop()


def _minutes(time_s):
  """Returns seconds as minutes or hours: 1:05, 2:03:04."""
  minutes, seconds = divmod(round(time_s), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else (
      f'{minutes}:{seconds:02d}')
