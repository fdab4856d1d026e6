"""The jobs of a grid, on disk and as processes: what is done, what is run."""

import collections
from collections.abc import Sequence
import os
import pathlib
import shlex
import subprocess
import sys
from typing import Any
from typing import NamedTuple

from meta_analog.config import saved
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import results
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.studies import grid_worker
from meta_analog.studies import plan

LOG = 'log.txt'
NO_RESULT = 'not finished'


class Found(NamedTuple):
  """What lies in the folder of a job."""

  summary: dict[str, Any] | None  # of a finished job, as its config is now
  why: str = ''  # there is none
  other_config: bool = False  # what is there was made under another config


def find(job: plan.Job, folder: pathlib.Path) -> Found:
  """Returns what lies in a job's folder.

  Args:
    job: of a plan.
    folder: of the grid.
  """
  try:
    summary = run_record.result(job.folder, results.SUMMARY)
    changed = ''
    if workdir.is_begun(job.folder):
      changed = _changed(job, finished=summary is not None)
  except errors.CorruptFileError as error:
    return Found(None, str(error))
  if changed:
    return Found(None, f'made with another {changed}', True)
  if summary is None:
    return Found(None, NO_RESULT)
  if job.case.of:
    try:
      if summary.get('of') != evaluate.origin(source(job, folder)):
        return Found(None, 'a test of another net', True)
    except errors.CorruptFileError as error:
      return Found(None, str(error))
  return Found(summary)


def source(job: plan.Job, folder: pathlib.Path) -> pathlib.Path | None:
  """Returns the folder of the run that a job tests, None of no run."""
  if not job.case.of or job.case.params == 'initial':
    return None
  return plan.trained_folder(folder, job.case.of, job.seed)


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


def command(
    job: plan.Job, folder: pathlib.Path, cache_dir: str | None
) -> list[str]:
  """Returns the command of a job, which a person can give as well.

  Args:
    job: of a plan.
    folder: of the grid.
    cache_dir: of compiled programs; None is the default.
  """
  script = 'retest.py' if job.case.of else 'main.py'
  run = source(job, folder)
  return [sys.executable, str(plan.ROOT / 'launch' / script),
          *job.flags, f'--workdir={job.folder}',
          *([] if run is None else [f'--run={run}']),
          *([] if cache_dir is None else [f'--cache_dir={cache_dir}'])]


def start(
    job: plan.Job, folder: pathlib.Path, cores: Sequence[int],
    cache_dir: str | None
) -> subprocess.Popen:
  """Returns the process of a job, its output added to its log.

  Args:
    job: of a plan.
    folder: of the grid.
    cores: that it may use.
    cache_dir: see `command_line`.

  Raises:
    OSError: if it cannot be started or its log not be written.
  """
  job.folder.mkdir(parents=True, exist_ok=True)
  words = command(job, folder, cache_dir)
  with (job.folder / LOG).open('ab') as log:
    log.write(f'$ {shlex.join(words)}\n'.encode())
    log.flush()
    return subprocess.Popen(
        [sys.executable, '-I', '-S', grid_worker.__file__,
         ','.join(map(str, cores)), str(os.getpid()), *words],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def last_words(job: plan.Job) -> str:
  """Returns the last line of a job's log."""
  try:
    with (job.folder / LOG).open(errors='replace') as log:
      lines = collections.deque((x for x in log if x.strip()), maxlen=1)
  except OSError:
    return ''
  return lines[0].strip() if lines else ''


def cost(job: plan.Job) -> float:
  """Returns about how many sets a job presents, backwards counted twice."""
  c = job.config
  test = c.evaluation.num_tasks * (1 + len(c.evaluation.after_s))
  if job.case.of:
    return float(test)
  events = c.adapt.num_events
  return float(test + 3 * c.training.num_steps * c.training.tasks_per_step
               * (1 + events))


def _changed(job, *, finished):
  """Returns in which fields a folder's config is not the job's, or ''.

  A finished run stays what it is where younger fields change nothing.
  """
  path = job.folder / workdir.CONFIG
  there = atomic_files.read_json(path) if path.is_file() else {}
  if not isinstance(there, dict):
    raise errors.CorruptFileError(f'{path} is damaged: not the config of a run')
  now = workdir.as_json(job.config)
  if finished:
    there, now = map(saved.filled, (there, now))
  return ', '.join(sorted(workdir.differences(there, now)))
