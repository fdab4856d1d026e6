"""Many devices and many processes: the same bits, and one end for all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest

from meta_analog.core import errors
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import signals
from tests.helpers import runs

# Ten chunks, which 4 and 8 devices share unevenly; five chips in the test.
SMALL = (
    f'--config={runs.ROOT / "configs/pcm.py:tiny"}',
    '--config.network.hidden_sizes=(4,)',
    '--config.network.num_time_steps=8',
    '--config.training.num_steps=100',
    '--config.training.checkpoint_every=5',
    '--config.training.tasks_per_step=20',
    '--config.training.tasks_per_chip=2',
    '--config.evaluation.num_tasks=10',
    '--config.evaluation.num_chips=5',
    '--config.evaluation.after_s=(251.0,)',
    '--config.evaluation.ordinary_steps=2',
)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def start(cache, workdir, num_devices, *arguments):
  """Returns the program's process on so many forced devices of the host."""
  names = {
      'XLA_FLAGS': f'{environment.FORCED_DEVICES}={num_devices} '
                   '--xla_backend_optimization_level=0'}
  signal.signal(signal.SIGINT, signal.default_int_handler)
  return subprocess.Popen(
      [sys.executable, str(runs.ROOT / 'launch/main.py'), '--workdir',
       str(workdir), f'--cache_dir={cache}', *SMALL, *arguments],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
      env=os.environ | names)


def start_two(cache, workdir, *arguments, last=()):
  """Returns two processes that are one run, with 2 devices each.

  The second is given another folder, and the arguments of `last` besides.
  """
  port = free_port()
  return [start(cache, workdir if i == 0 else unused(workdir), 2,
                f'--coordinator=localhost:{port}', '--num_processes=2',
                f'--process_id={i}', *arguments, *(last if i else ()))
          for i in range(2)]


def unused(workdir):
  """Returns the folder of the process that writes nothing."""
  return workdir.with_name(f'{workdir.name}_of_process_1')


def end_both(processes):
  """Returns exit codes and what both print on stderr."""
  (code, _, stderr), (other_code, other_out, other_err) = map(
      runs.end, processes)
  assert other_out == ''
  return (code, other_code), (stderr, other_err)


def free_port():
  with socket.create_server(('', 0)) as server:
    return server.getsockname()[1]


@pytest.fixture(scope='module')
def reference(cache, tmp_path_factory):
  """A run on one forced device."""
  workdir = tmp_path_factory.mktemp('one')
  code, _, stderr = runs.end(start(cache, workdir, 1))
  assert (code, stderr) == (0, '')
  return runs.outcome(workdir)


@pytest.mark.slow
def test_two_processes_then_eight_devices_end_with_the_bits_of_one(
    reference, cache, tmp_path):
  # A signal to either: process 0 saves, and both end.
  workdir, stopped = tmp_path / 'run', 0
  for receiver in (1, 0):
    both = start_two(cache, workdir)
    assert runs.wait_until(
        both[0], lambda: runs.newest(workdir) >= stopped + 10)
    both[receiver].send_signal(signal.SIGTERM)
    codes, stderrs = end_both(both)
    assert codes == (143, 143)
    assert all(runs.is_one_line(text) and 'SIGTERM' in text
               for text in stderrs)
    stopped = runs.newest(workdir)
    assert f'step {stopped} is saved' in stderrs[0] and stopped < 100

  # A process that dies takes the other along; the same commands resume.
  both = start_two(cache, workdir)
  assert runs.wait_until(both[0], lambda: runs.newest(workdir) >= stopped + 10)
  both[1].kill()
  began = time.monotonic()
  code, stdout, stderr = runs.end(both[0])
  assert code in (1, 134) and time.monotonic() - began < 120.0
  assert 'Traceback' not in stderr
  assert f'Resuming from step {stopped}.' in stdout and 'Gloo' not in stdout
  assert 'on 4 x cpu' in stdout and 'last digits' not in stdout
  runs.end(both[1])
  assert stopped + 10 <= runs.newest(workdir) < 100
  assert end_both(start_two(cache, workdir)) == ((0, 0), ('', ''))
  assert runs.outcome(workdir) == reference

  # Two processes test what they trained; the second never wrote.
  assert end_both(start_two(cache, workdir, '--mode=evaluate')) == (
      (0, 0), ('', ''))
  again = json.loads((workdir / 'evaluation.json').read_text())
  del again['training']
  assert again == {name: value for name, value in reference['summary'].items()
                   if name in again} and 'after_by_time_s' in again
  assert not unused(workdir).exists()


@pytest.mark.slow
def test_eight_devices_end_with_the_bits_of_one(reference, cache, tmp_path):
  code, stdout, stderr = runs.end(start(cache, tmp_path, 8))
  assert (code, stderr) == (0, '') and 'on 8 x cpu' in stdout
  assert runs.outcome(tmp_path) == reference


def test_processes_that_differ_are_told_apart(cache, tmp_path):
  codes, stderrs = end_both(start_two(
      cache, tmp_path / 'run', last=['--config.seed=3']))
  assert codes == (2, 2)
  for text in stderrs:
    assert 'process 1 differs from process 0 in config.seed' in text
    assert runs.is_one_line(text)
  assert not (tmp_path / 'run').exists()


def test_what_process_0_meets_ends_both(cache, tmp_path):
  codes, stderrs = end_both(start_two(
      cache, tmp_path / 'run', '--mode=evaluate'))
  assert codes == (2, 2) and stderrs[0] == stderrs[1]
  assert runs.is_one_line(stderrs[0]) and 'holds no run' in stderrs[0]


@pytest.mark.parametrize('coordinator, num_processes, process_id, message', [
    (None, None, 1, '--coordinator and --num_processes missing'),
    ('localhost:1234', 2, None, '--process_id missing'),
    ('localhost:1234', 2, 2, '--process_id=2'),
    ('localhost:1234', 2, -1, '--process_id=-1'),
    ('localhost:1234', 0, 0, '--num_processes=0'),
    (None, 1, 1, '--coordinator missing'),
    ('localhost', 2, 0, 'HOST:PORT'),
    (':99999', 2, 0, 'HOST:PORT'),
])
def test_a_mistake_names_the_flag(
    coordinator, num_processes, process_id, message):
  with pytest.raises(errors.InputError, match=message):
    distributed.initialize(coordinator, num_processes, process_id, False)


@pytest.mark.parametrize('num_processes', (None, 1))
def test_alone_without_flags(num_processes):
  distributed.initialize(None, num_processes, None, False)
  assert not jax.distributed.is_initialized()
  assert distributed.gather(b'abc') == [b'abc']
  assert distributed.from_first(lambda: {'a': 1}) == {'a': 1}
  assert distributed.agreed_signal(None) is None
  assert distributed.agreed_signal(signal.SIGTERM) == signal.SIGTERM


def test_a_scheduler_says_who_runs_where(monkeypatch):
  given = []
  monkeypatch.setattr(jax.distributed, 'initialize',
                      lambda *args, **kwargs: given.append((args, kwargs)))
  monkeypatch.setattr(distributed, '_mute', lambda process_id: None)
  monkeypatch.setattr(distributed, '_connect', lambda: None)
  monkeypatch.setattr(signals, 'at_exit', lambda fn: None)
  distributed.initialize(None, None, None, True)
  distributed.initialize('a:7', 2, 1, False)
  (args, kwargs), (args_given, kwargs_given) = given
  assert args == (None, None, None) and args_given == ('a:7', 2, 1)
  assert kwargs['cluster_detection_method'] is None
  assert kwargs_given['cluster_detection_method'] == 'deactivate'
  assert kwargs['heartbeat_timeout_seconds'] == 20
  assert not jax.config.jax_enable_preemption_service


def test_without_a_scheduler_detection_is_one_line(cache, tmp_path):
  code, _, stderr = runs.end(start(cache, tmp_path / 'run', 1, '--distributed'))
  assert code == 2 and runs.is_one_line(stderr)
  assert 'the processes do not meet' in stderr


def test_a_port_in_use_is_one_line(cache, tmp_path):
  with socket.create_server(('', 0)) as server:
    port = server.getsockname()[1]
    code, _, stderr = runs.end(start(
        cache, tmp_path / 'run', 1, f'--coordinator=localhost:{port}',
        '--num_processes=2', '--process_id=0'))
  assert code == 2 and runs.is_one_line(stderr), (code, stderr)
  assert f'cannot listen on port {port}: Address already in use' in stderr


def test_other_numbers_of_devices_and_processes_are_no_change():
  now = environment.record()
  other = now | {'devices': now['devices'] + 1, 'processes': 2}
  assert environment.changes(now, other) == []
  assert environment.changes(now, now | {'cores': 1000}) != []

# What two processes hear of each other, each with numbers of its own.
PAIR = '''
import sys
import numpy as np
from meta_analog.core import errors
from meta_analog.runtime import distributed
i, port = int(sys.argv[1]), sys.argv[2]
distributed.initialize(f'localhost:{port}', 2, i, False)
assert distributed.gather(b'ab' * i) == [b'', b'ab']
called = []
assert distributed.from_first(lambda: called.append(i) or {'x': [1]}) == {
    'x': [1]}
assert called == [0] * (i == 0)
tree = {'a': np.float32([-0.0, i]), 'b': np.int32(7 + i)}
got = {name: np.asarray(x) for name, x in distributed.broadcast(tree).items()}
assert got['a'].tobytes() == np.float32([-0.0, 0]).tobytes()
assert got['b'] == 7 and got['b'].dtype == np.int32
assert distributed.agreed_signal(None) is None
assert distributed.agreed_signal(15 if i else None) == 15

def fail():
  raise errors.CorruptFileError('broken')

try:
  distributed.from_first(fail)
except errors.CorruptFileError as error:
  print(error, file=sys.stderr)
'''


def test_two_processes_hear_of_each_other():
  port = free_port()
  processes = [subprocess.Popen(
      [sys.executable, '-c', PAIR, str(i), str(port)], text=True,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      env=os.environ | {'PYTHONPATH': str(runs.ROOT)}) for i in range(2)]
  codes, stderrs = end_both(processes)
  assert codes == (0, 0), stderrs
  assert stderrs == ('broken\n', 'broken\n')
