"""Jobs of a study: processes that leave the folders of its runs."""

import collections
from collections.abc import Callable
from collections.abc import Sequence
import os
import pathlib
import shlex
import subprocess
import sys
import time
from typing import Any
from typing import NamedTuple

from meta_analog.config import saved
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import results
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.studies import child
from meta_analog.studies import plan as plan_lib

LOG = 'log.txt'
NOT_FINISHED = 'not finished'
PATIENCE_S = 120.0  # for processes that save and end


class Job(NamedTuple):
  """One process, on whatever machine."""

  name: str  # 'pcm/seed=0', or 'pcm/seeds=0,1' of several in one step
  runs: tuple[plan_lib.Run, ...]
  needs: str | None  # job that must have ended well
  folder: pathlib.Path  # of the process; of its log
  arguments: tuple[str, ...]  # of Python
  cwd: str  # in which the process starts, and of relative paths


class Ended(NamedTuple):
  """Exit of a process."""

  code: int
  seconds: float


class Found(NamedTuple):
  """Contents of the folder of a run."""

  summary: dict[str, Any] | None  # of a finished run, as its config is now
  why: str = ''  # there is none
  other_config: bool = False  # what is there was made under another config


def find(run: plan_lib.Run, folder: pathlib.Path) -> Found:
  """Returns what lies in a run's folder.

  Args:
    run: of a plan.
    folder: of the study.
  """
  try:
    summary = run_record.result(run.folder, results.SUMMARY)
    changed = ''
    if workdir.is_begun(run.folder):
      changed = _changed(run, finished=summary is not None)
  except errors.CorruptFileError as error:
    return Found(None, str(error))
  if changed:
    return Found(None, f'made with another {changed}', True)
  if summary is None:
    return Found(None, NOT_FINISHED)
  if run.row.is_evaluated:
    try:
      if summary.get('of') != evaluate.origin(source_of(run, folder)):
        return Found(None, 'a test of another net', True)
    except errors.CorruptFileError as error:
      return Found(None, str(error))
  return Found(summary)


def source_of(run: plan_lib.Run, folder: pathlib.Path) -> str | None:
  """Returns what a run evaluates, as --source has it; None of a training."""
  if not run.row.is_evaluated:
    return None
  if run.row.params != 'trained':
    return run.row.params
  return str(plan_lib.trained_folder(folder, run.row.source, run.seed))


def make(
    runs: Sequence[plan_lib.Run], folder: pathlib.Path, cache_dir: str | None,
    *, vmap: bool
) -> list[Job]:
  """Returns the jobs that complete some runs.

  Args:
    runs: of a plan, those that are not finished.
    folder: of the study.
    cache_dir: of compiled programs; None is the default.
    vmap: whether one process trains all seeds of a row, in one step.
  """
  found, job_of = [], {}
  for run in runs:
    if run.name in job_of:
      continue
    together = [run]
    if vmap and not run.row.is_evaluated:
      together = [other for other in runs if other.row.name == run.row.name]
    job = (_of_seeds if len(together) > 1 else _of_run)(
        together, folder, cache_dir)
    job_of |= dict.fromkeys((other.name for other in together), job.name)
    found.append(job)
  return [job._replace(needs=job_of.get(job.needs, job.needs))
          for job in found]


def _of_run(together, folder, cache_dir):
  """Returns the job of a single run."""
  run, = together
  source = source_of(run, folder)
  program = ['-m', 'meta_analog.cli', 'train']
  if run.row.is_evaluated:
    program = ['-m', 'meta_analog.cli', 'evaluate', f'--source={source}']
  words = [*program, *run.flags, f'--workdir={run.folder}', *_cache(cache_dir)]
  return Job(run.name, (run,), run.needs, run.folder, tuple(words), os.getcwd())


def _of_seeds(together, folder, cache_dir):
  """Returns the job of several seeds of a row, in one step.

  Where an earlier job of more seeds began, it is resumed.
  """
  first = together[0]
  runs, seeds = first.folder.parent, [run.seed for run in together]
  place = folder / 'vmapped' / first.row.name
  for begun in sorted(place.glob('seeds=*')):
    there = [int(seed) for seed in begun.name[6:].split(',')]
    if {*seeds} <= {*there} and workdir.is_begun(begun):
      seeds = there
      break
  names = ','.join(map(str, seeds))
  here = place / f'seeds={names}'
  words = ['-m', 'meta_analog.studies.vmap_executor', *first.flags,
           f'--seeds={names}', f'--workdir={here}', f'--runs={runs}',
           *_cache(cache_dir)]
  return Job(f'{first.row.name}/seeds={names}', tuple(together), None, here,
             tuple(words), os.getcwd())


def _cache(cache_dir):
  return [] if cache_dir is None else [f'--cache_dir={cache_dir}']


def split_cores(
    num_processes: int, cores: Sequence[int], quota: int
) -> list[list[int]]:
  """Returns the cores of each process, as evenly as they can be dealt.

  Args:
    num_processes: at least 1; one alone gets all cores.
    cores: that there are; each is given once, or shared where they are fewer
      than the processes.
    quota: how many of them may be busy at a time, as a container may limit it.
  """
  n, cores = num_processes, sorted(cores)
  if n == 1:
    return [cores]
  if n > len(cores):
    return [[cores[i % len(cores)]] for i in range(n)]
  most = len(cores) if quota >= len(cores) else max(1, quota // n)
  return [cores[i * len(cores) // n:(i + 1) * len(cores) // n][:most]
          for i in range(n)]


def execute(
    job: Job, cores: Sequence[int], stopping: Callable[[], bool],
    pause_s: float = 0.05
) -> Ended:
  """Runs a job's process, its output added to its log, and waits for its end.

  A process whose worker died may still be saving: it is waited for first.

  Args:
    job: to run.
    cores: that it may use.
    stopping: whether it is to save and end.
    pause_s: between two checks.

  Raises:
    OSError: if it cannot be started or its log not be written.
    InputError: if its folder cannot be written, or another process holds it.
  """
  began, folder = time.monotonic(), pathlib.Path(job.cwd) / job.folder
  command = sys.executable, *job.arguments
  wait_until_free(folder, stopping)
  with (folder / LOG).open('ab') as log:
    log.write(f'$ {shlex.join(command)}\n'.encode())
    log.flush()
    process = subprocess.Popen(
        child.command(cores, command), stdin=subprocess.DEVNULL, stdout=log,
        stderr=subprocess.STDOUT, cwd=job.cwd)
  try:
    while process.poll() is None and not stopping():
      time.sleep(pause_s)
  finally:
    end(process)
  return Ended(process.returncode, time.monotonic() - began)


def wait_until_free(
    folder: pathlib.Path, stopping: Callable[[], bool]
) -> None:
  """Waits until no other process holds a folder.

  Args:
    folder: made where it is not there.
    stopping: whether to wait no longer.

  Raises:
    InputError: at once if it cannot be written, and if it is held for longer
      than a run takes to save.
  """
  until = time.monotonic() + PATIENCE_S
  while True:
    try:
      with workdir.locked(folder):
        return
    except workdir.InUseError:
      if time.monotonic() > until or stopping():
        raise
    time.sleep(0.2)


def end(process: subprocess.Popen) -> None:
  """Has a process save and end, and kills one that does not."""
  if process.poll() is not None:
    return
  process.terminate()
  try:
    process.wait(PATIENCE_S)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()


def last_line(job: Job) -> str:
  """Returns the last line of a job's log."""
  try:
    with (job.folder / LOG).open(errors='replace') as log:
      lines = collections.deque((x for x in log if x.strip()), maxlen=1)
  except OSError:
    return ''
  return lines[0].strip() if lines else ''


def cost(job: Job) -> float:
  """Returns about how many forward passes a job takes, backwards as two."""
  return sum(map(_cost, job.runs))


def _cost(run):
  c = run.config
  test = c.evaluation.num_tasks * (1 + len(c.evaluation.after_s))
  if run.row.is_evaluated:
    return float(test)
  return float(test + 3 * c.training.num_steps * c.training.tasks_per_step
               * (1 + c.adapt.num_events))


def _changed(run, *, finished):
  """Returns in which fields a folder's config is not the run's, or ''.

  A finished run stays what it is where younger fields change nothing.
  """
  path = run.folder / workdir.CONFIG
  there = atomic_files.read_json(path) if path.is_file() else {}
  if not isinstance(there, dict):
    raise errors.CorruptFileError(f'{path} is damaged: not the config of a run')
  now = workdir.as_json(run.config)
  if finished:
    there, now = map(saved.filled, (there, now))
  return ', '.join(sorted(workdir.differences(there, now)))
