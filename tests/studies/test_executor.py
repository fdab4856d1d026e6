"""Tests of the schedule: who runs when, and what ends with whom."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import pytest

from meta_analog.studies import executor
from meta_analog.studies import grid_worker
from meta_analog.studies import jobs as jobs_lib


class Process:
  """Ends with a code at the n-th look, or when asked to."""

  def __init__(self, code=0, looks=1, do=lambda: None):
    self.code, self.looks, self.do = code, looks, do
    self.terminated = False

  def poll(self):
    self.looks -= 1
    if self.terminated:
      return -15
    if self.looks == 0:
      self.do()
    return self.code if self.looks <= 0 else None

  def terminate(self):
    self.terminated = True


def _jobs(*pairs):
  return [types.SimpleNamespace(name=name, needs=needs)
          for name, needs in pairs]


def _schedule(jobs, processes, num_processes, stopping=lambda: False):
  """Returns (outcomes, order of beginnings, most at once)."""
  begun, alive, most = [], set(), [0]

  def start(job, slot):
    assert 0 <= slot < num_processes and slot not in alive
    begun.append(job.name)
    alive.add(slot)
    most[0] = max(most[0], len(alive))
    process = processes.get(job.name, Process())
    process.do = lambda: alive.remove(slot)
    return process

  hooks = executor.Hooks(start, lambda *_: None, stopping, lambda _: 1.0)
  outcomes = executor.run(jobs, hooks, num_processes, pause_s=0.0)
  return outcomes, begun, most[0]


@pytest.mark.parametrize('num_processes', (1, 2, 3, 9))
def test_as_many_jobs_run_at_once_as_asked_for(num_processes):
  jobs = _jobs(*((str(i), None) for i in range(6)))
  outcomes, begun, most = _schedule(
      jobs, {str(i): Process(looks=3 + i % 2) for i in range(6)},
      num_processes)
  assert most == min(6, num_processes)
  assert begun == [job.name for job in jobs]
  assert all(outcomes[job.name].code == 0 for job in jobs)


def test_a_job_waits_for_what_it_needs_and_others_overtake_it():
  jobs = _jobs(('a', None), ('test of a', 'a'), ('b', None))
  _, begun, _ = _schedule(jobs, {'a': Process(looks=5)}, 2)
  assert begun == ['a', 'b', 'test of a']


def test_a_job_that_fails_stops_only_what_needs_it():
  jobs = _jobs(('a', None), ('test of a', 'a'), ('b', None),
               ('test of c', 'c'))
  outcomes, begun, _ = _schedule(jobs, {'a': Process(code=3)}, 1)
  assert begun == ['a', 'b']
  assert {name: outcome.code for name, outcome in outcomes.items()} == {
      'a': 3, 'test of a': None, 'b': 0, 'test of c': None}


def test_a_stop_ends_all_processes_and_begins_none():
  looks = iter([False] * 4 + [True] * 9)
  running = {name: Process(looks=99) for name in 'ab'}
  outcomes, begun, _ = _schedule(
      _jobs(('a', None), ('b', None), ('c', None)), running, 2,
      lambda: next(looks))
  assert outcomes == {} and begun == ['a', 'b']
  assert all(process.terminated for process in running.values())


def test_an_error_of_the_launcher_ends_all_processes():
  process = Process(looks=99)

  def start(job, slot):
    if job.name == 'b':
      raise OSError('no more')
    return process

  hooks = executor.Hooks(
      start, lambda *_: None, lambda: False, lambda _: 1.0)
  with pytest.raises(OSError):
    executor.run(_jobs(('a', None), ('b', None)), hooks, 2, pause_s=0.0)
  assert process.terminated


def test_the_time_left_follows_the_cost_of_what_is_left():
  told, seconds = [], iter(range(0, 1000, 5))  # 5 s from look to look
  hooks = executor.Hooks(
      lambda job, slot: Process(),
      lambda job, outcome, done, left_s: told.append((outcome.seconds, left_s)),
      lambda: False, lambda job: {'a': 1.0, 'b': 1.0, 'c': 4.0}[job.name])
  executor.run(_jobs(('a', None), ('b', None), ('c', None)),
               hooks,
               1,
               pause_s=0.0,
               clock=lambda: next(seconds))
  assert told[0] == (5, 25.0) and told[1] == (5, 20.0) and told[2][1] == 0.0


def test_cores_are_dealt_out_once():
  assert jobs_lib.split_cores(1, {0, 1, 5}, 2) == [[0, 1, 5]]
  assert jobs_lib.split_cores(2, range(5), 5) == [[0, 1], [2, 3, 4]]
  assert jobs_lib.split_cores(3, (4, 5), 2) == [[4], [5], [4]]
  assert jobs_lib.split_cores(2, range(8), 4) == [[0, 1], [4, 5]]


def _worker(cores, parent, *command):
  return [sys.executable, '-I', '-S', grid_worker.__file__, cores, str(parent),
          *command]


def test_a_worker_runs_its_command_on_its_cores():
  core = min(os.sched_getaffinity(0))
  told = subprocess.run(
      _worker(str(core), os.getpid(), sys.executable, '-c',
              'import os; print(os.sched_getaffinity(0)); os._exit(7)'),
      capture_output=True, text=True)
  assert told.stdout == f'{{{core}}}\n' and told.returncode == 7


def test_a_worker_gets_a_signal_when_its_parent_is_killed(tmp_path):
  file = tmp_path / 'pid'
  child = ('import os, sys, time; open(sys.argv[1], "w").write('
           'str(os.getpid())); time.sleep(60)')
  parent = ('import os, subprocess, sys; subprocess.Popen([word.replace('
            '"PARENT", str(os.getpid())) for word in sys.argv[1:]]).wait()')
  core = str(min(os.sched_getaffinity(0)))
  process = subprocess.Popen([
      sys.executable, '-c', parent, *_worker(
          core, 'PARENT', sys.executable, '-c', child, str(file))])
  until = time.monotonic() + 30
  while not (file.is_file() and file.read_text()):
    assert time.monotonic() < until
    time.sleep(0.01)
  pid = int(file.read_text())
  process.send_signal(signal.SIGKILL)
  process.wait()
  while _is_alive(pid):
    assert time.monotonic() < until
    time.sleep(0.01)


def _is_alive(pid):
  try:  # One that has ended may wait for somebody to ask.
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  return stat.rpartition(')')[2].split()[0] != 'Z'
