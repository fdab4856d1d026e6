"""A study from its config to its table: every row with every seed.

Each run is a process of its own, the same as a person would start, or one of
the seeds that a process trains in one step. It has a folder of its own:
runs/<row>/seed=<k>/ of what is trained, tests/<row>/seed=<k>/ of what is
evaluated again. Only the table and its figure are made here.
"""

import pathlib
import signal
from typing import Any
from typing import NamedTuple

import rich.console

from meta_analog.core import errors
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.reporting import style
from meta_analog.reporting import terminal
from meta_analog.runtime import atomic_files
from meta_analog.runtime import signals
from meta_analog.studies import axis_figure
from meta_analog.studies import cluster
from meta_analog.studies import executor
from meta_analog.studies import figure
from meta_analog.studies import jobs as jobs_lib
from meta_analog.studies import markdown
from meta_analog.studies import plan as plan_lib
from meta_analog.studies import statistics
from meta_analog.studies import vmap_executor


class Options(NamedTuple):
  """Options of the execution of a study.

  Attributes:
    num_processes: at once on this machine, among which the cores are dealt.
    scheduler: HOST:PORT of a dask scheduler whose workers run the processes
      instead; '' is none.
    vmap: whether one process trains all seeds of a row, in one step.
    cache_dir: of compiled programs; None is the default.
  """

  num_processes: int = 1
  scheduler: str = ''
  vmap: bool = False
  cache_dir: str | None = None


class _Study(NamedTuple):
  """Values that the parts of an execution share."""

  plan: plan_lib.Plan
  folder: pathlib.Path
  console: rich.console.Console
  failed: dict[str, str]  # run: why

  def log(self, text: Any) -> None:
    """Prints a line or a table."""
    self.console.print(text)


def run(
    plan: plan_lib.Plan, folder: pathlib.Path, options: Options = Options(), *,
    stop: signals.StopRequest | None = None
) -> dict[str, Any]:
  """Completes what is not finished of a study; returns its table.

  Args:
    plan: of `plan.make`, for this folder.
    folder: of the study; made where it is not there.
    options: see `Options`.
    stop: signals to heed; None heeds none.

  Returns:
    What table.json holds, see `statistics.collect`.

  Raises:
    InputError: if the rows, the folder or the scheduler cannot be.
    Interrupted: after a signal, once all processes have ended.
    RunError: if a run failed.
  """
  stop = stop or signals.StopRequest()
  stop.advice = 'the same command resumes'
  console = terminal.console()
  study = _Study(plan, folder, console, {})
  if options.vmap:
    for each in plan.runs:
      if not each.row.is_evaluated:
        vmap_executor.check(each.config)
  with workdir_lib.locked(folder):
    atomic_files.remove_partial(folder)
    jobs = _unfinished(study, options)
    with _backend(study, options) as backend, stop.deferred():
      outcomes = executor.run(jobs, backend, executor.Hooks(
          lambda *ended: _ended(study, len(jobs), *ended),
          lambda: stop.signum is not None, jobs_lib.cost))
      stopped = stop.signum
      table = _write(study)
      if stopped is not None:
        raise errors.Interrupted(stopped, (
            f'Stopped by {signal.Signals(stopped).name}; {len(outcomes)} of '
            f'{len(jobs)} jobs had ended, the others have saved: the same '
            'command resumes.'))
  study.log(markdown.terminal(table))
  study.log(f'Written to {folder}: {workdir_lib.contents(folder)}.')
  if study.failed:
    raise errors.RunError(
        f'{len(study.failed)} of {len(plan.runs)} runs failed: '
        f'{"; ".join(f"{name} ({why})" for name, why in study.failed.items())};'
        ' the same command tries them again')
  return table


def _unfinished(study, options):
  """Returns the jobs that are left, and logs what there is."""
  done, runs = set(), []
  for run in study.plan.runs:
    found = jobs_lib.find(run, study.folder)
    if found.summary is not None:
      done.add(run.name)
    elif found.other_config and not run.row.is_evaluated:
      # Hours of training are not thrown away for a changed word.
      study.failed[run.name] = (
          f'{run.folder} was {found.why}: remove it to train anew')
      study.log(f'{run.name}: {study.failed[run.name]}.')
    else:
      if found.other_config:
        study.log(f'{run.name} was {found.why}: it is evaluated again.')
      runs.append(run)
  num_rows = len(study.plan.rows)
  study.log(f'{num_rows} row{"s" * (num_rows > 1)}, seeds '
            f'{", ".join(map(str, study.plan.seeds))}: {len(done)} of '
            f'{len(study.plan.runs)} runs are finished, into {study.folder}')
  runs = [run._replace(needs=None) if run.needs in done else run
          for run in runs]
  return jobs_lib.make(
      runs, study.folder, options.cache_dir, vmap=options.vmap)


def _backend(study, options):
  """Returns the context of the backend on which jobs run."""
  if options.scheduler:
    study.log(f'Jobs run on the workers of {options.scheduler}, log: '
              f'{jobs_lib.LOG} in the folder of each.')
    return cluster.connected(options.scheduler)

  def started(job, cores):
    study.log(f'{job.name} begins on core{"s" * (len(cores) > 1)} '
              f'{",".join(map(str, cores))}, log: {job.folder / jobs_lib.LOG}')

  return executor.local(options.num_processes, started)


def _ended(study, num_jobs, job, outcome, num_ended, left_s):
  """Logs what became of a job, and writes the table with its runs."""
  left = f' About {markdown.duration(left_s)} left.' if left_s else ''
  for run in job.runs:
    study.log(f'[{num_ended}/{num_jobs}] {run.name}: '
              f'{_result(study, job, run, outcome)}{left}')
  if outcome.code == 0:
    _write(study)


def _result(study, job, run, outcome):
  """Returns in words what became of a run; notes a failure."""
  if outcome.code is None:
    study.failed[run.name] = f'needs {job.needs}'
    return f'skipped, for it {study.failed[run.name]}.'
  found = jobs_lib.find(run, study.folder)
  if outcome.code == 0 and found.summary is not None:
    after = found.summary['after']
    half = '' if after['ci95'] is None else f' ± {after["ci95"]:.3f}'
    return (f'{found.summary["metric"]} {after["mean"]:.3f}{half} after '
            f'adaptation, in {markdown.duration(outcome.seconds)}.')
  log = job.folder / jobs_lib.LOG
  study.failed[run.name] = f'log: {log}'
  if outcome.error:
    return f'failed: {outcome.error} (log: {log}).'
  words = jobs_lib.last_line(job) if outcome.code else found.why
  return f'failed, exit code {outcome.code}: {words} (log: {log}).'


def _write(study):
  """Writes the table and its figure; returns the table."""
  path = study.folder / 'table.json'
  atomic_files.write_json(path, statistics.collect(study.plan, study.folder))
  table = atomic_files.read_json(path)  # so that all else is made of it alone
  with atomic_files.replacing(study.folder / 'table.md') as partial:
    partial.write_text(markdown.document(table))
  drawings = {'table.png': figure.draw}
  if table['axes']:
    drawings['axis.png'] = axis_figure.draw
  for name, draw_fn in drawings.items():
    def draw(path, draw_fn=draw_fn):
      with atomic_files.replacing(path) as partial:
        draw_fn(partial, table)

    style.draw(study.folder / name, draw, study.log)
  return table
