"""Jobs on so many processes at once: who begins when, and what became of it."""

from collections.abc import Callable
from collections.abc import Sequence
import time
from typing import Any
from typing import NamedTuple
from typing import Protocol

PATIENCE_S = 120.0  # for processes that were asked to save and end


class Process(Protocol):
  """As much of `subprocess.Popen` as is needed here."""

  def poll(self) -> int | None:
    """Returns the exit code, None while it runs."""

  def terminate(self) -> None:
    """Asks it to save and end."""

  def kill(self) -> None:
    """Ends it."""


class Outcome(NamedTuple):
  """What became of a job."""

  code: int | None  # exit code; None of one that never began
  seconds: float


class Hooks(NamedTuple):
  """What a schedule calls.

  Attributes:
    start: `(job, slot) -> Process`, slot from 0 to the number of processes.
    ended: `(job, Outcome, done, left_s)`, with how many jobs have ended and the
      seconds that the others will take.
    stopping: `() -> bool`, whether all is to end.
    cost: `(job) -> float`, its length relative to that of others.
  """

  start: Callable[[Any, int], Process]
  ended: Callable[[Any, Outcome, int, float], None]
  stopping: Callable[[], bool]
  cost: Callable[[Any], float]


class _Running(NamedTuple):
  job: Any
  process: Process
  began_s: float


def run(
    jobs: Sequence[Any], hooks: Hooks, num_processes: int, *,
    pause_s: float = 0.1, clock: Callable[[], float] = time.monotonic
) -> dict[str, Outcome]:
  """Runs jobs; returns what became of each that has ended, by its name.

  A job begins once what it needs has ended well, the earliest in order first;
  where that fails, or was never among the jobs, it does not begin at all.
  Whatever ends this function ends all processes first.

  Args:
    jobs: each with a `name`, and the name that it `needs` or None.
    hooks: see `Hooks`.
    num_processes: at once, at least 1.
    pause_s: between two looks.
    clock: returns seconds.

  Returns:
    {name: Outcome}; of fewer than all where it was stopped.
  """
  waiting, outcomes = list(jobs), {}
  running: dict[int, _Running] = {}
  spent = []  # (cost, seconds) of jobs that ended well

  def end(job, code, seconds):
    outcomes[job.name] = Outcome(code, seconds)
    if code == 0:
      spent.append((hooks.cost(job), seconds))
    left = sum(map(hooks.cost, waiting)) + sum(
        hooks.cost(r.job) for r in running.values())
    hooks.ended(job, outcomes[job.name], len(outcomes),
                _left_s(left, spent, num_processes))

  try:
    while (waiting or running) and not hooks.stopping():
      for slot, (job, process, began_s) in list(running.items()):
        code = process.poll()
        if code:  # A signal to all may reach this process last.
          time.sleep(pause_s)
        if code is not None and not (code and hooks.stopping()):
          del running[slot]
          end(job, code, clock() - began_s)
      for job in [job for job in waiting if _hopeless(job, jobs, outcomes)]:
        waiting.remove(job)
        end(job, None, 0.0)
      for slot in sorted(set(range(num_processes)) - running.keys()):
        job = next((job for job in waiting if _ready(job, outcomes)), None)
        if job is not None:
          waiting.remove(job)
          running[slot] = _Running(job, hooks.start(job, slot), clock())
      time.sleep(pause_s)
  finally:
    _end_all([r.process for r in running.values()], pause_s, clock)
  return outcomes


def _ready(job, outcomes):
  """Returns whether what a job needs has ended well."""
  return job.needs is None or (
      job.needs in outcomes and outcomes[job.needs].code == 0)


def _hopeless(job, jobs, outcomes):
  """Returns whether what a job needs cannot end well any more."""
  if job.needs is None:
    return False
  outcome = outcomes.get(job.needs)
  if outcome is None:
    return job.needs not in {other.name for other in jobs}
  return outcome.code != 0


def _left_s(left, spent, num_processes):
  """Returns the seconds that jobs of a total cost will take, 0 if unknown."""
  cost = sum(c for c, _ in spent)
  if not cost:
    return 0.0
  return left * sum(s for _, s in spent) / cost / num_processes


def _end_all(processes, pause_s, clock):
  """Asks processes to end, and ends those that do not."""
  until = clock() + PATIENCE_S
  for process in processes:
    process.terminate()
  while any(process.poll() is None for process in processes):
    if clock() > until:
      for process in processes:
        process.kill()
    time.sleep(pause_s)
