"""A grid from its config to its table: every case with every seed, in turn.

Each job is a process of its own, the same as a person would start, with a
folder of its own: runs/<case>/seed=<k>/ of what is trained, and
tests/<case>/seed=<k>/ of what is tested once more. Only the table, its figure
and the lines on the terminal are made here.
"""

import pathlib
import signal
from typing import Any
from typing import NamedTuple

import ml_collections
import rich.console

from meta_analog.core import errors
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.runtime import atomic_files
from meta_analog.runtime import environment
from meta_analog.runtime import signals
from meta_analog.studies import executor
from meta_analog.studies import figure
from meta_analog.studies import jobs as jobs_lib
from meta_analog.studies import markdown
from meta_analog.studies import plan as plan_lib
from meta_analog.studies import statistics


class _Grid(NamedTuple):
  """What the parts of a run share."""

  plan: plan_lib.Plan
  folder: pathlib.Path
  console: rich.console.Console
  failed: dict[str, str]  # job: why

  def say(self, text: Any) -> None:
    """Prints a line or a table."""
    self.console.print(text)


def run(
    config: ml_collections.ConfigDict, workdir: str, num_processes: int = 1, *,
    cache_dir: str | None = None, stop: signals.StopRequest | None = None
) -> dict[str, Any]:
  """Runs what is not finished of a grid; returns what table.json holds.

  Args:
    config: of a grid, see `plan.make`.
    workdir: folder of the grid; made where it is not there.
    num_processes: jobs at once, among which the cores are dealt.
    cache_dir: of compiled programs, see launch/main.py.
    stop: signals to heed; None heeds none.

  Returns:
    See `statistics.collect`.

  Raises:
    settings.InputError: if the grid or the folder cannot be.
    faults.Stopped: after a signal, once all processes have ended.
    faults.Fault: if a job failed.
  """
  folder, stop = pathlib.Path(workdir), stop or signals.StopRequest()
  stop.advice = 'the same command goes on'
  console = rich.console.Console(highlight=False, soft_wrap=True)
  grid = _Grid(plan_lib.make(config, folder), folder, console, {})
  with workdir_lib.locked(folder):
    atomic_files.remove_partial(folder)
    jobs = _unfinished(grid)
    with stop.deferred():
      outcomes = _run(grid, jobs, num_processes, cache_dir, stop)
      stopped = stop.signum
      table = _write(grid)
      if stopped is not None:
        raise errors.Interrupted(stopped, (
            f'Stopped by {signal.Signals(stopped).name}; {len(outcomes)} of '
            f'{len(jobs)} jobs had ended, the others have saved: the same '
            'command goes on.'))
  grid.say(markdown.terminal(table))
  grid.say(f'Written to {folder}: table.md, table.json, table.png.')
  if grid.failed:
    raise errors.RunError(
        f'{len(grid.failed)} of {len(grid.plan.jobs)} jobs failed: '
        f'{"; ".join(f"{name} ({why})" for name, why in grid.failed.items())}; '
        'the same command tries them again')
  return table


def _unfinished(grid):
  """Returns the jobs to run, and says what there is."""
  done, jobs = set(), []
  for job in grid.plan.jobs:
    found = jobs_lib.find(job, grid.folder)
    if found.summary is not None:
      done.add(job.name)
    elif found.other_config and not job.case.of:
      # Hours of training are not thrown away for a changed word.
      grid.failed[job.name] = (
          f'{job.folder} was {found.why}: remove it to train anew')
      grid.say(f'{job.name}: {grid.failed[job.name]}.')
    else:
      if found.other_config:
        grid.say(f'{job.name} was {found.why}: it is tested again.')
      jobs.append(job)
  grid.say(f'{len(grid.plan.cases)} cases, seeds '
           f'{", ".join(map(str, grid.plan.seeds))}: {len(done)} of '
           f'{len(grid.plan.jobs)} jobs are finished, into {grid.folder}')
  return [job._replace(needs=None) if job.needs in done else job
          for job in jobs]


def _run(grid, jobs, num_processes, cache_dir, stop):
  """Runs jobs; returns what became of them."""
  cores = jobs_lib.split_cores(
      num_processes, environment.usable_cores(), environment.num_cores())

  def start(job, slot):
    names = ','.join(map(str, cores[slot]))
    grid.say(f'{job.name} begins on core{"s" * (len(cores[slot]) > 1)} '
             f'{names}, log: {job.folder / jobs_lib.LOG}')
    return jobs_lib.start(job, grid.folder, cores[slot], cache_dir)

  def ended(job, outcome, done, left_s):
    grid.say(f'[{done}/{len(jobs)}] {job.name}: '
             f'{_result(grid, job, outcome)}{_left(left_s)}')
    if outcome.code == 0:
      _write(grid)

  return executor.run(jobs, executor.Hooks(
      start, ended, lambda: stop.signum is not None, jobs_lib.cost),
      num_processes)


def _result(grid, job, outcome):
  """Returns in words what became of a job; notes a failure."""
  if outcome.code is None:
    grid.failed[job.name] = f'needs {job.needs}'
    return f'not run, for it {grid.failed[job.name]}.'
  found = jobs_lib.find(job, grid.folder)
  if outcome.code == 0 and found.summary is not None:
    after = found.summary['after']
    half = '' if after['ci95'] is None else f' ± {after["ci95"]:.3f}'
    return (f'{found.summary["metric"]} {after["mean"]:.3f}{half} after '
            f'adaptation, in {markdown.duration(outcome.seconds)}.')
  log = job.folder / jobs_lib.LOG
  grid.failed[job.name] = f'log: {log}'
  words = jobs_lib.last_words(job) if outcome.code else found.why
  return f'failed, exit code {outcome.code}: {words} (log: {log}).'


def _left(left_s):
  if not left_s:
    return ''
  return f' About {markdown.duration(left_s)} left.'


def _write(grid):
  """Writes the table and its figure; returns the table."""
  path = grid.folder / 'table.json'
  atomic_files.write_json(path, statistics.collect(grid.plan, grid.folder))
  table = atomic_files.read_json(path)  # so that all else is made of it alone
  with atomic_files.replacing(grid.folder / 'table.md') as partial:
    partial.write_text(markdown.document(table))
  with atomic_files.replacing(grid.folder / 'table.png') as partial:
    figure.draw(partial, table)
  return table
