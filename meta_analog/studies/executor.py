"""Execution of a study's jobs: in order of what they need, on an executor.

The executor is one of `concurrent.futures`: threads that start processes on
this machine, or the workers of a dask scheduler (`cluster`).
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import queue
import threading
import time
from typing import Any
from typing import NamedTuple

from meta_analog.runtime import environment
from meta_analog.studies import jobs as jobs_lib

PAUSE_S = 0.1  # between two checks for a signal


class Outcome(NamedTuple):
  """Outcome of a job."""

  code: int | None  # exit code; None of one that was never started
  seconds: float
  error: str = ''  # of the executor, where there is no exit code


class Backend(NamedTuple):
  """An executor and its way to run jobs.

  Attributes:
    executor: to which jobs are submitted.
    execute: `(job) -> jobs.Ended`, called there.
    capacity: `() -> int`, jobs at once.
    stop: `()`, has all running jobs save and end.
  """

  executor: futures.Executor
  execute: Callable[[jobs_lib.Job], jobs_lib.Ended]
  capacity: Callable[[], int]
  stop: Callable[[], None]


class Hooks(NamedTuple):
  """Callbacks of the loop.

  Attributes:
    ended: `(job, Outcome, number of ended jobs, seconds that the others take)`.
    stopping: `() -> bool`, whether all is to end.
    cost: `(job) -> float`, its length relative to that of others.
  """

  ended: Callable[[Any, Outcome, int, float], None]
  stopping: Callable[[], bool]
  cost: Callable[[Any], float]


@contextlib.contextmanager
def local(
    num_processes: int, started: Callable[[Any, list[int]], None]
) -> Iterator[Backend]:
  """Yields the backend of this machine: a thread and a process for each job.

  Args:
    num_processes: at once, at least 1; the cores are dealt among them.
    started: `(job, cores)`, called in the thread of a job.
  """
  free, stopped = queue.SimpleQueue(), threading.Event()
  for cores in jobs_lib.split_cores(
      num_processes, environment.usable_cores(), environment.num_cores()):
    free.put(cores)

  def execute(job):
    cores = free.get()
    try:
      started(job, cores)
      return jobs_lib.execute(job, cores, stopped.is_set)
    finally:
      free.put(cores)

  with futures.ThreadPoolExecutor(num_processes) as pool:
    yield Backend(pool, execute, lambda: num_processes, stopped.set)


def run(
    jobs: Sequence[Any], backend: Backend, hooks: Hooks
) -> dict[str, Outcome]:
  """Runs jobs; returns what became of each that has ended, by its name.

  A job is submitted once what it needs has ended well, the earliest in order
  first; where that fails, or was never among the jobs, it is skipped. Whatever
  ends this function ends all jobs first.

  Args:
    jobs: each with a `name`, and the name of a job that it `needs` or None.
    backend: where they run.
    hooks: see `Hooks`.

  Returns:
    {name: Outcome}; of fewer than all where it was stopped.
  """
  waiting, running, outcomes = list(jobs), {}, {}
  spent = []  # (cost, seconds) of jobs that ended well

  def end(job, outcome):
    outcomes[job.name] = outcome
    if outcome.code == 0:
      spent.append((hooks.cost(job), outcome.seconds))
    left = sum(map(hooks.cost, [*waiting, *running.values()]))
    hooks.ended(job, outcome, len(outcomes),
                _left_s(left, spent, backend.capacity()))

  try:
    while (waiting or running) and not hooks.stopping():
      for job in [job for job in waiting if _is_hopeless(job, jobs, outcomes)]:
        waiting.remove(job)
        end(job, Outcome(None, 0.0))
      for job in [job for job in waiting if _is_ready(job, outcomes)][
          :max(0, backend.capacity() - len(running))]:
        waiting.remove(job)
        running[backend.executor.submit(backend.execute, job)] = job
      done, _ = futures.wait(running, PAUSE_S, futures.FIRST_COMPLETED)
      for future in sorted(done, key=lambda x: jobs.index(running[x])):
        outcome = _outcome(future)
        if outcome.code:  # A signal to all may reach this process last.
          time.sleep(PAUSE_S)
        if not (outcome.code and hooks.stopping()):
          end(running.pop(future), outcome)
  finally:
    backend.stop()
    futures.wait(running, jobs_lib.PATIENCE_S + 10.0)
  return outcomes


def _outcome(future):
  """Returns what became of a job whose future is done."""
  try:
    return Outcome(*future.result())
  except futures.CancelledError:
    return Outcome(-1, 0.0, 'the scheduler is gone')
  except Exception as error:  # of the executor, or of a start
    return Outcome(-1, 0.0, ' '.join(str(error).split()))


def _is_ready(job, outcomes):
  """Returns whether what a job needs has ended well."""
  return job.needs is None or (
      job.needs in outcomes and outcomes[job.needs].code == 0)


def _is_hopeless(job, jobs, outcomes):
  """Returns whether what a job needs cannot end well any more."""
  if job.needs is None:
    return False
  outcome = outcomes.get(job.needs)
  if outcome is None:
    return job.needs not in {other.name for other in jobs}
  return outcome.code != 0


def _left_s(left, spent, capacity):
  """Returns the seconds that jobs of a total cost will take, 0 if unknown."""
  cost = sum(c for c, _ in spent)
  if not cost:
    return 0.0
  return left * sum(s for _, s in spent) / cost / capacity
