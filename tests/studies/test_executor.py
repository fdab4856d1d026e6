"""Tests of execution: who runs when, and what ends with whom."""

from concurrent import futures
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

from meta_analog.core import errors
from meta_analog.experiment import workdir
from meta_analog.studies import child
from meta_analog.studies import executor
from meta_analog.studies import jobs as jobs_lib


class Fake:
  """A backend of threads; each job takes `seconds`, or until it is stopped."""

  def __init__(self, capacity, codes=(), seconds=0.0):
    self.codes, self.seconds = dict(codes), seconds
    self.begun, self.most, self.alive = [], 0, set()
    self.stopped, self._lock = threading.Event(), threading.Lock()
    self.backend = executor.Backend(
        futures.ThreadPoolExecutor(9), self.execute, lambda: capacity,
        self.stopped.set)

  def execute(self, job):
    with self._lock:
      self.begun.append(job.name)
      self.alive.add(job.name)
      self.most = max(self.most, len(self.alive))
    self.stopped.wait(self.seconds)
    with self._lock:
      self.alive.remove(job.name)
    code = self.codes.get(job.name, 0)
    if isinstance(code, Exception):
      raise code
    return jobs_lib.Ended(143 if self.stopped.is_set() else code, self.seconds)


def _jobs(*pairs):
  return [types.SimpleNamespace(name=name, needs=needs)
          for name, needs in pairs]


def _run(jobs, fake, stopping=lambda: False, ended=lambda *_: None,
         cost=lambda _: 1.0):
  return executor.run(
      jobs, fake.backend, executor.Hooks(ended, stopping, cost))


@pytest.mark.parametrize('capacity', (1, 2, 3, 9))
def test_as_many_jobs_run_at_once_as_fit(capacity):
  jobs, fake = _jobs(*((str(i), None) for i in range(6))), Fake(
      capacity, seconds=0.1)
  outcomes = _run(jobs, fake)
  assert fake.most == min(6, capacity)
  assert sorted(fake.begun) == [job.name for job in jobs]
  assert all(outcomes[job.name].code == 0 for job in jobs)


def test_a_job_waits_for_what_it_needs_and_others_overtake_it():
  fake = Fake(1)
  _run(_jobs(('test of a', 'a'), ('b', None), ('a', None)), fake)
  assert fake.begun == ['b', 'a', 'test of a']


def test_a_job_that_fails_stops_only_what_needs_it():
  jobs = _jobs(('a', None), ('test of a', 'a'), ('b', None),
               ('test of c', 'c'), ('d', None))
  fake = Fake(1, {'a': 3, 'd': OSError(28, 'No space left')})
  outcomes = _run(jobs, fake)
  assert fake.begun == ['a', 'b', 'd']
  assert {name: outcome.code for name, outcome in outcomes.items()} == {
      'a': 3, 'test of a': None, 'b': 0, 'test of c': None, 'd': -1}
  assert 'No space left' in outcomes['d'].error


def test_a_stop_ends_all_jobs_and_begins_none():
  fake = Fake(2, seconds=60.0)
  stopping = lambda: len(fake.begun) == 2
  outcomes = _run(_jobs(('a', None), ('b', None), ('c', None)), fake, stopping)
  assert outcomes == {} and sorted(fake.begun) == ['a', 'b']
  assert not fake.alive and fake.stopped.is_set()


def test_an_error_of_the_loop_ends_all_jobs():
  fake = Fake(2, {}, seconds=60.0)

  def stopping():
    if len(fake.begun) == 2:
      raise RuntimeError

  with pytest.raises(RuntimeError):
    _run(_jobs(('a', None), ('b', None)), fake, stopping)
  assert not fake.alive


def test_the_time_left_follows_the_cost_of_what_is_left():
  reported = []
  fake = Fake(1)
  fake.execute = lambda job: jobs_lib.Ended(0, 5.0)
  fake.backend = fake.backend._replace(execute=fake.execute)
  _run(_jobs(('a', None), ('b', None), ('c', None)), fake,
       ended=lambda job, outcome, done, left_s: reported.append(
           (outcome.seconds, done, left_s)),
       cost=lambda job: {'a': 1.0, 'b': 1.0, 'c': 4.0}[job.name])
  assert reported == [(5.0, 1, 25.0), (5.0, 2, 20.0), (5.0, 3, 0.0)]


def test_cores_are_dealt_out_once():
  assert jobs_lib.split_cores(1, {0, 1, 5}, 2) == [[0, 1, 5]]
  assert jobs_lib.split_cores(2, range(5), 5) == [[0, 1], [2, 3, 4]]
  assert jobs_lib.split_cores(3, (4, 5), 2) == [[4], [5], [4]]
  assert jobs_lib.split_cores(2, range(8), 4) == [[0, 1], [4, 5]]


def _job(folder, code):
  """Returns a job that runs Python code."""
  return jobs_lib.Job('a', (), None, folder, ('-c', code), os.getcwd())


def test_a_process_runs_on_its_cores_and_gives_its_exit_code(tmp_path):
  code = ('import os, sys; print(os.sched_getaffinity(0), flush=True); '
          'sys.exit(7)')
  core = min(os.sched_getaffinity(0))
  ended = jobs_lib.execute(_job(tmp_path, code), [core], lambda: False)
  assert ended.code == 7
  assert jobs_lib.last_line(_job(tmp_path, '')) == f'{{{core}}}'


def test_a_process_that_is_stopped_gets_a_signal(tmp_path):
  code = ('import signal, sys, time\n'
          'signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n'
          'print("ready", flush=True)\ntime.sleep(60)')
  job = _job(tmp_path, code)
  ended = jobs_lib.execute(job, sorted(os.sched_getaffinity(0)),
                           lambda: jobs_lib.last_line(job) == 'ready')
  assert ended.code == 9


def test_a_folder_that_is_held_is_waited_for(tmp_path, monkeypatch):
  held, release = threading.Event(), threading.Event()

  def hold():
    with workdir.locked(tmp_path):
      held.set()
      release.wait(30)

  thread = threading.Thread(target=hold)
  thread.start()
  held.wait(30)
  checks = []

  def stopping():
    checks.append(True)
    if len(checks) == 2:
      release.set()
    return False

  jobs_lib.wait_until_free(tmp_path, stopping)
  thread.join()
  assert len(checks) >= 2
  monkeypatch.setattr(jobs_lib, 'PATIENCE_S', 0.0)
  with workdir.locked(tmp_path):
    with pytest.raises(errors.InputError, match='in use'):
      jobs_lib.wait_until_free(tmp_path, lambda: False)


def test_a_folder_that_cannot_be_written_is_not_waited_for(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(errors.InputError, match='is a file'):
    jobs_lib.wait_until_free(
        tmp_path / 'file', lambda: pytest.fail('it waits'))


def test_a_child_gets_a_signal_when_its_parent_is_killed(tmp_path):
  file = tmp_path / 'pid'
  code = ('import os, sys, time; open(sys.argv[1], "w").write('
          'str(os.getpid())); time.sleep(60)')
  parent = ('import subprocess, sys; from meta_analog.studies import child; '
            'subprocess.Popen(child.command([int(sys.argv[1])], sys.argv[2:])'
            ').wait()')
  process = subprocess.Popen([
      sys.executable, '-c', parent, str(min(os.sched_getaffinity(0))),
      sys.executable, '-c', code, str(file)])
  until = time.monotonic() + 60
  while not (file.is_file() and file.read_text()):
    assert time.monotonic() < until
    time.sleep(0.01)
  pid = int(file.read_text())
  process.send_signal(signal.SIGKILL)
  process.wait()
  while _is_alive(pid):
    assert time.monotonic() < until
    time.sleep(0.01)


def test_a_child_whose_parent_is_gone_does_not_begin():
  found = subprocess.run(
      [*child.command([0], [])[:3], str(min(os.sched_getaffinity(0))), '1',
       sys.executable, '-c', 'print("begun")'], capture_output=True, text=True)
  assert found.stdout == ''


def _is_alive(pid):
  try:  # One that has ended may wait for somebody to ask.
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  return stat.rpartition(')')[2].split()[0] != 'Z'
