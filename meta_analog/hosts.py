"""Several processes as one run: they meet, work alike, and end together.

Process 0 listens at the coordinator's address until all others have called; it
checks that all were asked for the same, and only then is jax.distributed
started, with its own service on a free port of the same host. The connections
stay open for as long as the run lasts. Only process 0 writes; when it ends, it
tells the others, which end with its exit code. A process that dies closes its
connection, so nobody waits for it in a collective operation. Where a host
vanishes without closing anything, jax finds out after HEARTBEAT_S.
"""

from collections.abc import Iterator
import contextlib
import json
import os
import socket
import sys
import threading
import time
import traceback
from typing import Any

import jax
from jax._src import clusters
from jax.experimental import multihost_utils
import numpy as np

from meta_analog import faults
from meta_analog import interrupts
from meta_analog import settings
from meta_analog import sharding
from meta_analog import workdir

MEET_S = 120.0  # how long processes wait for each other at the start
HEARTBEAT_S = 30  # after which jax gives up a host that has gone silent
CALL_S = 10.0  # for one caller to say who it is
END_S = 5.0  # for the others to end before process 0 does
SIGNAL, END = b's', b'e'  # messages: one of these and a byte


def find(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> tuple[str, int, int, list[int] | None] | None:
  """Returns where this process belongs, or None where it runs alone.

  What is not given is asked of the cluster scheduler, where there is one that
  jax knows; where all is given, or num_processes is 1, nobody is asked.

  Args:
    coordinator: host:port of process 0.
    num_processes: of the run.
    process_id: of this process, 0 .. num_processes - 1.

  Returns:
    The three, and the accelerators that are this process's (None: all).

  Raises:
    settings.InputError: if something is missing or cannot be.
  """
  given = {'--coordinator': coordinator, '--num_processes': num_processes,
           '--process_id': process_id}
  if num_processes is not None and num_processes < 1:
    raise settings.InputError(
        f'--num_processes={num_processes}: must be at least 1')
  if num_processes == 1 and process_id in (None, 0):
    return None
  local_ids = None
  if None in given.values():
    coordinator, num_processes, process_id, local_ids = _ask_scheduler(*(
        given.values()))
    if all(value is None for value in given.values()):
      if coordinator is None or num_processes == 1:
        return None
  found = dict(zip(given, (coordinator, num_processes, process_id)))
  missing = [name for name, value in found.items() if value is None]
  if missing:
    raise settings.InputError(
        f'{" and ".join(missing)} missing: a run of several processes needs '
        '--coordinator=HOST:PORT, --num_processes and --process_id, where no '
        'cluster scheduler gives them')
  if not 0 <= process_id < num_processes:
    raise settings.InputError(
        f'--process_id={process_id}: must be from 0 to {num_processes - 1}, '
        f'below --num_processes={num_processes}')
  _address(coordinator)
  return None if num_processes == 1 else (
      coordinator, num_processes, process_id, local_ids)


@contextlib.contextmanager
def joined(
    coordinator: str | None, num_processes: int | None,
    process_id: int | None, asked: Any, stop: interrupts.Interrupts
) -> Iterator[None]:
  """Makes this process one of several for as long as the block runs.

  Without arguments and without a scheduler nothing happens. To be entered
  before jax is used.

  Args:
    coordinator: see `find`.
    num_processes: see `find`.
    process_id: see `find`.
    asked: JSON value, what all processes must have been asked for.
    stop: the signals of this process; process 0 alone heeds them, the others
      pass them on to it.

  Raises:
    settings.InputError: if the processes do not meet, or differ.
  """
  found = find(coordinator, num_processes, process_id)
  if found is None:
    yield
    return
  coordinator, num_processes, process_id, local_ids = found
  host, _ = _address(coordinator)
  _mute(process_id)
  if process_id == 0:
    lines, port = gather(coordinator, num_processes, asked)
    _lead(lines, stop)
  else:
    line, port = call(coordinator, num_processes, process_id, asked)
    _follow(line, stop)
  # Its handler of SIGTERM would take the place of ours.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
        f'{host}:{port}', num_processes, process_id, local_ids,
        cluster_detection_method='deactivate',
        initialization_timeout=int(MEET_S),
        heartbeat_timeout_seconds=HEARTBEAT_S)
    _connect()
    yield
  except (faults.Fault, settings.InputError):
    raise
  except Exception as error:
    if isinstance(error, jax.errors.JaxRuntimeError):
      # Most likely another process has died; its closed connection says so.
      time.sleep(END_S)
    traceback.print_exc()
    interrupts.leave(1)  # At its own exit, jax would wait for the others.


def gather(
    coordinator: str, num_processes: int, asked: Any, wait_s: float = MEET_S
) -> tuple[dict[int, socket.socket], int]:
  """Waits, as process 0, until all others have called.

  Args:
    coordinator: host:port to listen at.
    num_processes: of the run.
    asked: see `joined`.
    wait_s: for how long.

  Returns:
    The connection to each other process, and the port for jax.

  Raises:
    settings.InputError: if somebody does not call, or differs.
  """
  _, port = _address(coordinator)
  until, lines = time.monotonic() + wait_s, {}
  try:
    server = socket.create_server(('', port), reuse_port=False)
  except OSError as error:
    raise settings.InputError(
        f'--coordinator={coordinator}: process 0 cannot listen on port {port}: '
        f'{faults.reason(error)}') from None
  with server:
    while len(lines) < num_processes - 1:
      server.settimeout(max(until - time.monotonic(), 0.01))
      try:
        line, _ = server.accept()
      except TimeoutError:
        missing = set(range(1, num_processes)) - lines.keys()
        raise settings.InputError(
            f'after {wait_s:g} s, of {num_processes} processes these have not '
            f'called at {coordinator}: {_listed(missing)}') from None
      caller = _read(line, CALL_S)
      if not isinstance(caller, dict) or 'process_id' not in caller:
        line.close()  # nobody of ours
        continue
      wrong = _wrong(caller, lines, num_processes, asked)
      if wrong:
        for other in (line, *lines.values()):
          _write(other, {'error': wrong})
        raise settings.InputError(wrong)
      lines[caller['process_id']] = line
  with socket.create_server(('', 0)) as free:
    port = free.getsockname()[1]
  for line in lines.values():
    _write(line, {'port': port})
  return lines, port


def call(
    coordinator: str, num_processes: int, process_id: int, asked: Any,
    wait_s: float = MEET_S
) -> tuple[socket.socket, int]:
  """Calls process 0, and waits until it has heard all others.

  Args:
    coordinator: host:port of process 0.
    num_processes: of the run.
    process_id: of this process.
    asked: see `joined`.
    wait_s: for how long.

  Returns:
    The connection, and the port for jax.

  Raises:
    settings.InputError: if process 0 does not answer, or refuses.
  """
  until = time.monotonic() + wait_s
  while True:
    try:
      line = socket.create_connection(_address(coordinator), timeout=CALL_S)
      break
    except OSError as error:
      if time.monotonic() > until:
        raise settings.InputError(
            f'--coordinator={coordinator}: process 0 was not reached in '
            f'{wait_s:g} s: {faults.reason(error)}') from None
      time.sleep(0.1)
  _write(line, {'process_id': process_id, 'num_processes': num_processes,
                'asked': asked})
  answer = _read(line, max(until - time.monotonic(), 0) + CALL_S)
  if isinstance(answer, dict) and 'port' in answer:
    line.settimeout(None)
    return line, answer['port']
  error = answer.get('error') if isinstance(answer, dict) else None
  raise settings.InputError(error or (
      f'process 0 at {coordinator} ended before the run began, or is none of '
      'this program'))


def is_first() -> bool:
  """Returns whether this process is the one that writes."""
  return jax.process_index() == 0


def local(tree: Any) -> Any:
  """Returns a replicated pytree as this process's own, NumPy if others run."""
  if jax.process_count() == 1:
    return tree
  return jax.tree.map(np.asarray, tree)


def shared(tree: Any) -> Any:
  """Returns process 0's pytree, on the devices of all processes.

  Args:
    tree: of arrays; those of the other processes give shapes and dtypes.
  """
  if jax.process_count() == 1:
    return tree
  leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, tree))
  # As bytes: what sends numbers adds them up, and -0.0 would become 0.0.
  data = np.frombuffer(b''.join(x.tobytes() for x in leaves), np.uint8)
  data = np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes()
  place, placed, begin = sharding.replicated(), [], 0
  for leaf in leaves:
    values = np.frombuffer(data, leaf.dtype, leaf.size, begin)
    values = values.reshape(leaf.shape)
    placed.append(jax.make_array_from_callback(
        leaf.shape, place, lambda index, values=values: values[index]))
    begin += leaf.nbytes
  return treedef.unflatten(placed)


def wait() -> None:
  """Waits, as one of the others, for process 0 to end this process."""
  while True:
    time.sleep(3600)


def _connect():
  """Connects the devices, while all processes are at the same place.

  A first collective operation gives up after 30 s (Gloo on CPU), and one
  process may compile longer than another; later ones wait.
  """
  multihost_utils.broadcast_one_to_all(np.zeros(1, np.uint8))
  index = lambda params, i, key, scale: i
  jax.block_until_ready(jax.jit(lambda key: sharding.over_devices(
      index, jax.device_count(), (), key, 1.0))(jax.random.key(0)))


def _lead(lines, stop):
  """Listens to the others; tells them when this process ends."""
  ending = threading.Event()

  def hear(process_id, line):
    line.settimeout(None)
    while True:
      kind, value = _heard(line)
      if kind == SIGNAL:
        os.kill(os.getpid(), value)
        continue
      if not ending.is_set():
        ending.set()
        how = f'exit code {value}' if kind == END else 'no exit code'
        interrupts.leave(
            value if kind == END and value else 1,
            f'error: process {process_id} ended, with {how}; {stop.advice}')
      return

  threads = [threading.Thread(target=hear, args=item, daemon=True)
             for item in lines.items()]

  def end(code):
    ending.set()
    until = time.monotonic() + END_S
    for line in lines.values():
      _tell(line, END, code)
    for thread in threads:  # Jax's service ends with this process: last.
      if thread is not threading.current_thread():
        thread.join(max(until - time.monotonic(), 0))

  interrupts.at_end(end)
  for thread in threads:
    thread.start()


def _follow(line, stop):
  """Listens to process 0 and ends as it does; passes signals on to it."""
  def hear():
    kind, value = _heard(line)
    if kind == END:
      interrupts.leave(value)
    interrupts.leave(1, 'error: process 0 is gone; the same commands go on '
                        'from its newest checkpoint')

  stop.pass_on(lambda signum: _tell(line, SIGNAL, signum))
  interrupts.at_end(lambda code: _tell(line, END, code))
  threading.Thread(target=hear, daemon=True).start()


def _heard(line):
  """Returns the next message: its kind and value, or two None."""
  try:
    message = line.recv(2, socket.MSG_WAITALL)
  except OSError:
    message = b''
  return (message[:1], message[1]) if len(message) == 2 else (None, None)


def _tell(line, kind, value):
  with contextlib.suppress(OSError):
    line.sendall(kind + bytes([value]))


def _ask_scheduler(coordinator, num_processes, process_id):
  """Returns them, completed by the scheduler, and this process's devices."""
  try:
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        coordinator, num_processes, process_id, None, None, int(MEET_S))
  except Exception as error:  # of a scheduler's own library
    raise settings.InputError(
        f'the cluster scheduler does not say who runs where: '
        f'{faults.reason(error)}; give --coordinator, --num_processes and '
        '--process_id, or --num_processes=1 to run alone') from None
  return found


def _address(coordinator):
  """Returns host and port."""
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise settings.InputError(
        f'--coordinator={coordinator}: must be HOST:PORT, such as '
        'localhost:1234')
  return host.strip('[]'), int(port)


def _wrong(caller, lines, num_processes, asked):
  """Returns what is wrong with a caller, or None."""
  number = caller['process_id']
  if caller.get('num_processes') != num_processes:
    return (f'process {number} has --num_processes='
            f'{caller.get("num_processes")}, process 0 {num_processes}')
  if number in lines or number == 0:
    return f'two processes have --process_id={number}'
  differ = sorted(workdir.differences(asked, caller.get('asked') or {}))
  if differ:
    return (f'process {number} differs from process 0 in '
            f'{", ".join(differ)}: all must be asked for the same')
  return None


def _read(line, wait_s):
  """Returns the JSON value of one line, or None where none comes in time."""
  data, until = b'', time.monotonic() + wait_s
  try:
    while not data.endswith(b'\n') and len(data) < 1_000_000:
      line.settimeout(max(until - time.monotonic(), 0.01))
      more = line.recv(65536)
      if not more:
        return None
      data += more
    return json.loads(data)
  except (OSError, ValueError):
    return None


def _write(line, value):
  with contextlib.suppress(OSError):
    line.sendall(json.dumps(value).encode() + b'\n')


def _listed(numbers):
  return ', '.join(map(str, sorted(numbers)))


def _mute(process_id):
  """Keeps what libraries print, and all that the others print, off stdout.

  Gloo prints a line for every group of devices that it connects.
  """
  sys.stdout.flush()
  null = os.open(os.devnull, os.O_WRONLY)
  out = os.dup(1) if process_id == 0 else null
  os.dup2(null, 1)
  sys.stdout = open(out, 'w', encoding=sys.stdout.encoding, buffering=1)
