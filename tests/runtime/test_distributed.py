"""Many devices and many processes: the same bits, and one end for all."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import rendezvous
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


def start_two(cache, workdir, *arguments):
  """Returns two processes that are one run, with 2 devices each."""
  port = free_port()
  return [start(cache, workdir if i == 0 else pathlib.Path('/nowhere'), 2,
                f'--coordinator=localhost:{port}', '--num_processes=2',
                f'--process_id={i}', *arguments) for i in range(2)]


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


def test_each_process_places_its_data_by_itself(monkeypatch):
  data = {'images': np.arange(6, dtype=np.uint8).reshape(2, 3)}
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  # It would wait for the others, which need not come.
  monkeypatch.setattr(jax, 'device_put', lambda *_: pytest.fail('compared'))
  shared, own = sharding.replicate(data), sharding.place_locally(data)
  assert shared['images'].sharding == sharding.replicated()
  for placed in (shared, own):
    np.testing.assert_array_equal(placed['images'], data['images'])
    assert placed['images'].dtype == np.uint8


@pytest.mark.slow
def test_two_processes_then_eight_devices_end_with_the_bits_of_one(
    reference, cache, tmp_path):
  # A signal to the one that does not write: the other saves, and both end.
  first, second = start_two(cache, tmp_path)
  assert runs.wait_until(first, lambda: runs.newest(tmp_path) >= 10)
  second.send_signal(signal.SIGTERM)
  code, stdout, stderr = runs.end(first)
  assert code == 143 and runs.is_one_line(stderr) and 'SIGTERM' in stderr
  assert 'on 4 x cpu' in stdout and 'Gloo' not in stdout
  assert runs.end(second) == (143, '', '')
  stopped = runs.newest(tmp_path)
  assert 10 <= stopped < 100

  # A process that dies takes the other along, at once.
  first, second = start_two(cache, tmp_path)
  assert runs.wait_until(first, lambda: runs.newest(tmp_path) >= stopped + 10)
  second.kill()
  began = time.monotonic()
  code, stdout, stderr = runs.end(first)
  assert code == 1 and time.monotonic() - began < distributed.HEARTBEAT_S / 2
  assert runs.is_one_line(stderr) and 'process 1 ended' in stderr
  assert f'Going on from step {stopped}.' in stdout
  assert 'last digits' not in stdout
  runs.end(second)
  assert stopped + 10 <= runs.newest(tmp_path) < 100

  # The rest on other devices, in one process; no device has an equal share.
  code, stdout, stderr = runs.end(start(cache, tmp_path, 8))
  assert (code, stderr) == (0, '') and 'on 8 x cpu' in stdout
  assert 'Going on from step' in stdout and 'last digits' not in stdout
  assert runs.outcome(tmp_path) == reference

  # Two processes test what eight devices trained.
  first, second = start_two(cache, tmp_path, '--mode=evaluate')
  code, _, stderr = runs.end(first)
  assert (code, stderr) == (0, '') and runs.end(second) == (0, '', '')
  again = json.loads((tmp_path / 'evaluation.json').read_text())
  del again['training']
  assert again == {name: value for name, value in reference['summary'].items()
                   if name in again} and 'after_by_time_s' in again


def meshes(*counts):
  """Runs this file on 8 forced devices and returns what it prints."""
  process = subprocess.run([sys.executable, __file__, *map(str, counts)],
                           capture_output=True,
                           text=True,
                           check=True,
                           timeout=120,
                           env=os.environ | {
                               'PYTHONPATH': str(runs.ROOT),
                               'XLA_FLAGS': f'{environment.FORCED_DEVICES}=8'
                           })
  return process.stdout.splitlines()


def test_items_and_their_sum_are_the_same_on_any_mesh():
  lines = meshes(2, 3, 4, 8)
  assert len(lines) == 4 and len(set(lines)) == 1


def _item(params, i, key, scale):
  """Returns draws of an item and what is very sensitive to rounding."""
  x = scale * jax.random.normal(jax.random.fold_in(key, i), (7,))
  turn = lambda x, _: (jnp.sin(50 * (x @ params) + x), None)
  return {'x': x, 'y': jax.lax.scan(turn, x, length=20)[0]}


def _digest(num_devices, num_items=10):
  """Returns the bits of items and of their sum on part of the devices."""
  devices = jax.devices()[:num_devices]
  sharding.mesh = lambda: jax.make_mesh(
      (num_devices,), (sharding.SHARD,), devices=devices,
      axis_types=(jax.sharding.AxisType.Auto,))
  params = jax.random.normal(jax.random.key(1), (7, 7))

  @jax.jit
  def both(params, key):
    items = sharding.map_over_devices(_item, num_items, params, key, 1.0)
    return items, sharding.sum_in_order(items)

  return ' '.join(np.asarray(x).tobytes().hex() for x in jax.tree.leaves(
      both(params, jax.random.key(2))))


def test_each_item_is_computed_once_by_its_global_index():
  params, key = jnp.eye(7), jax.random.key(3)
  items = jax.jit(lambda params, key: sharding.map_over_devices(
      lambda params, i, key, scale: i, 5, params, key, 1.0))(params, key)
  np.testing.assert_array_equal(items, range(5))


def test_the_sum_is_taken_in_order():
  x = np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32)
  total = np.zeros(50, np.float32)
  for row in x:
    total = total + row
  assert np.any(total != x[::-1].cumsum(axis=0)[-1])  # the order matters
  np.testing.assert_array_equal(
      jax.jit(sharding.sum_in_order)({'x': x})['x'], total)


@pytest.mark.parametrize('coordinator, num_processes, process_id, said', [
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
    monkeypatch, coordinator, num_processes, process_id, said):
  without_scheduler(monkeypatch)
  with pytest.raises(errors.InputError, match=said):
    distributed.find(coordinator, num_processes, process_id)


def without_scheduler(monkeypatch):
  for name in list(os.environ):
    if name.startswith(('SLURM_', 'OMPI_', 'KUBERNETES_')):
      monkeypatch.delenv(name)


def test_alone_without_flags_and_without_a_scheduler(monkeypatch):
  without_scheduler(monkeypatch)
  assert distributed.find(None, None, None) is None
  assert distributed.find(None, 1, None) is None
  with distributed.joined(None, None, None, {}, signals.Interrupts()):
    assert not jax.distributed.is_initialized()


def test_a_scheduler_says_who_runs_where(monkeypatch):
  without_scheduler(monkeypatch)
  values = {'JOB_ID': '70000', 'STEP_NODELIST': 'node[03-06]', 'NTASKS': '4',
            'PROCID': '2', 'LOCALID': '0'}
  for name, value in values.items():
    monkeypatch.setenv(f'SLURM_{name}', value)
  coordinator, *rest = distributed.find(None, None, None)
  assert coordinator.startswith('node03:') and rest == [4, 2, [0]]
  assert distributed.find('other:7', None, None)[0] == 'other:7'
  assert distributed.find(None, 1, None) is None
  monkeypatch.setenv('SLURM_NTASKS', '1')
  monkeypatch.setenv('SLURM_PROCID', '0')
  assert distributed.find(None, None, None) is None


def test_an_unreachable_coordinator_is_one_line_in_bounded_time():
  began = time.monotonic()
  with pytest.raises(errors.InputError, match='was not reached in 0.3 s'):
    rendezvous.call(f'localhost:{free_port()}', 2, 1, {}, wait_s=0.3)
  with pytest.raises(errors.InputError, match='not called .*: 1, 2'):
    rendezvous.gather(f'localhost:{free_port()}', 3, {}, wait_s=0.3)
  assert time.monotonic() - began < 5


@pytest.mark.parametrize('theirs, said', [
    ((2, 1, {'a': {'b': 2}}), 'process 1 differs from process 0 in a.b'),
    ((3, 1, {'a': {'b': 1}}), 'process 1 has --num_processes=3, process 0 2'),
    ((2, 0, {'a': {'b': 1}}), 'two processes have --process_id=0'),
])
def test_processes_that_differ_are_told_apart(theirs, said):
  address, found = f'localhost:{free_port()}', []

  def theirs_fn():
    try:
      rendezvous.call(address, *theirs, wait_s=10)
    except errors.InputError as error:
      found.append(str(error))

  thread = threading.Thread(target=theirs_fn)
  thread.start()
  with pytest.raises(errors.InputError, match=said):
    rendezvous.gather(address, 2, {'a': {'b': 1}}, wait_s=10)
  thread.join()
  assert len(found) == 1 and said in found[0]


def test_strangers_at_the_port_are_turned_away():
  address, found = f'localhost:{free_port()}', []

  def visit():
    host, port = address.split(':')
    for _ in range(100):
      try:
        with socket.create_connection((host, int(port))) as stranger:
          stranger.sendall(b'GET / HTTP/1.1\r\n\r\n')
        break
      except OSError:
        time.sleep(0.02)
    found.append(rendezvous.call(address, 2, 1, {}, wait_s=10))

  thread = threading.Thread(target=visit)
  thread.start()
  lines, port = rendezvous.gather(address, 2, {}, wait_s=10)
  thread.join()
  assert list(lines) == [1] and found[0][1] == port
  for line in (lines[1], found[0][0]):
    line.close()


def test_other_numbers_of_devices_and_processes_are_no_change():
  now = environment.record()
  other = now | {'devices': now['devices'] + 1, 'processes': 2}
  assert environment.changes(now, other) == []
  assert environment.changes(now, now | {'cores': 1000}) != []


if __name__ == '__main__':
  for count in sys.argv[1:]:
    print(_digest(int(count)))
