"""Several processes as one run, by jax.distributed.

All processes take the same path through the program; process 0 alone reads and
writes files, and what it read or met goes to the others as bytes. jax watches
over the processes: where one dies, the others end, by an error of the operation
that they are in or, within HEARTBEAT_S, by jax's own abort.
"""

from collections.abc import Callable
import json
import os
import socket
import sys
from typing import Any
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.runtime import signals

MEET_S = 120  # how long processes wait for each other at the start
HEARTBEAT_S = 20  # after which jax takes a silent process for dead
T = TypeVar('T')


def initialize(
    coordinator: str | None, num_processes: int | None,
    process_id: int | None, detect: bool
) -> None:
  """Makes this process one of several, before jax is used.

  Without arguments, or with num_processes 1 alone, nothing happens.

  Args:
    coordinator: host:port of process 0.
    num_processes: of the run.
    process_id: of this process, 0 .. num_processes - 1.
    detect: whether jax asks the cluster's scheduler for what is not given.

  Raises:
    InputError: if something is missing or cannot be, or the processes do not
      meet.
  """
  check(coordinator, num_processes, process_id, detect)
  if not detect and coordinator is None:
    return
  if process_id == 0 and coordinator is not None:
    _check_port(int(coordinator.rpartition(':')[2]))
  _mute(process_id)
  # Its handler of SIGTERM would take the place of ours.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
        coordinator, num_processes, process_id,
        cluster_detection_method=None if detect else 'deactivate',
        initialization_timeout=MEET_S, heartbeat_timeout_seconds=HEARTBEAT_S)
  except Exception as error:  # also of a scheduler's own library
    raise errors.InputError(
        f'the processes do not meet: {errors.reason(error)}; give '
        '--coordinator, --num_processes and --process_id, or none of them to '
        'run alone') from None
  if jax.process_index():
    _mute(jax.process_index())  # where the scheduler said which it is
  signals.at_exit(_end)
  _connect()


def check(
    coordinator: str | None, num_processes: int | None,
    process_id: int | None, detect: bool
) -> None:
  """Raises InputError where the arguments of `initialize` cannot be."""
  given = {'--coordinator': coordinator, '--num_processes': num_processes,
           '--process_id': process_id}
  missing = [name for name, value in given.items() if value is None]
  if num_processes is not None and num_processes < 1:
    raise errors.InputError(
        f'--num_processes={num_processes}: must be at least 1')
  alone = len(missing) == 3 or (num_processes == 1 and len(missing) == 2)
  if missing and not detect and not alone:
    raise errors.InputError(
        f'{" and ".join(missing)} missing: a run of several processes needs '
        '--coordinator=HOST:PORT, --num_processes and --process_id, or '
        '--distributed where a cluster scheduler gives them')
  if coordinator is not None:
    host, _, port = coordinator.rpartition(':')
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
      raise errors.InputError(
          f'--coordinator={coordinator}: must be HOST:PORT, such as '
          'localhost:1234')
  if None not in (process_id, num_processes) and not (
      0 <= process_id < num_processes):
    raise errors.InputError(
        f'--process_id={process_id}: must be from 0 to {num_processes - 1}, '
        f'below --num_processes={num_processes}')


def is_first() -> bool:
  """Returns whether this process is the one that reads and writes."""
  return jax.process_index() == 0


def gather(data: bytes) -> list[bytes]:
  """Returns the bytes of every process, in the order of the processes."""
  if not jax.distributed.is_initialized():
    return [data]
  sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(data))))
  padded = np.zeros(max(1, sizes.max()), np.uint8)
  padded[:len(data)] = np.frombuffer(data, np.uint8)
  rows = multihost_utils.process_allgather(padded)
  return [row[:size].tobytes() for row, size in zip(
      rows.reshape(len(sizes), -1), sizes)]


def from_first(fn: Callable[[], T]) -> T:
  """Returns what a function returns in process 0, in all processes.

  Args:
    fn: called in process 0 alone, such as one that reads or writes files;
      returns a JSON value.

  Raises:
    What the function raises, in all processes; the others raise a StorageError
    for what is none of `core.errors`.
  """
  if jax.process_count() == 1:
    return fn()
  value, error, text = None, None, ''
  if is_first():
    try:
      value = fn()
      text = json.dumps({'value': value})
    except Exception as caught:  # the others must hear of any
      error = caught
      text = json.dumps(
          {'error': type(caught).__name__, 'text': errors.reason(caught)
           if isinstance(caught, OSError) else str(caught)})
  text = gather(text.encode())[0]
  if not is_first():
    report = json.loads(text)
    value, error = report.get('value'), _error_of(report)
  if error is not None:
    _Ending.together = True
    raise error
  return value


def broadcast(tree: Any) -> Any:
  """Returns process 0's pytree, on the devices of all processes.

  Args:
    tree: of arrays; those of the other processes give shapes and dtypes.
  """
  if jax.process_count() == 1:
    return tree
  leaves, treedef = jax.tree.flatten(jax.tree.map(np.asarray, tree))
  data = gather(b''.join(leaf.tobytes() for leaf in leaves)
                if is_first() else b'')[0]
  begins = np.cumsum([0, *(leaf.nbytes for leaf in leaves)])
  return sharding.replicate(treedef.unflatten([
      np.frombuffer(data, leaf.dtype, leaf.size, begin).reshape(leaf.shape)
      for leaf, begin in zip(leaves, begins)]))


def agreed_signal(signum: int | None) -> int | None:
  """Returns the signal that asked any of the processes to stop, or None.

  Args:
    signum: of the signal that asked this process to, or None.
  """
  signums = multihost_utils.process_allgather(np.int32(signum or 0))
  _Ending.together = bool(np.any(signums))
  return int(np.max(signums)) or None


def local(tree: Any) -> Any:
  """Returns a replicated pytree as this process's own, NumPy if others run."""
  if jax.process_count() == 1:
    return tree
  return jax.tree.map(np.asarray, tree)


def is_of_another(error: BaseException) -> bool:
  """Returns whether an error tells of another process that has ended."""
  return jax.process_count() > 1 and isinstance(
      error, jax.errors.JaxRuntimeError)


class _Ending:
  """Whether all processes have heard of what ends them."""

  together = False


def _end(code):
  """Waits until all processes are here, where all are on their way.

  Mistakes in what was asked are the same in all. Where this process ends alone
  it does not wait, and jax ends the others.
  """
  if _Ending.together or code in (0, 2):
    jax.distributed.shutdown()


def _error_of(report):
  """Returns the error that process 0 reports, or None."""
  if 'error' not in report:
    return None
  kind = getattr(errors, report['error'], errors.StorageError)
  return kind(report['text'])


def _check_port(port):
  """Raises InputError where nobody can listen: jax 0.10.2 crashes there."""
  try:
    with socket.create_server(('', port)):
      pass
  except OSError as error:
    raise errors.InputError(
        f'--coordinator: process 0 cannot listen on port {port}: '
        f'{errors.reason(error)}') from None


def _connect():
  """Connects the devices, while all processes are at the same place.

  A first collective operation gives up after 30 s (Gloo on CPU), and one
  process may compile longer than another; later ones wait.
  """
  gather(b'')
  index = lambda params, i, key, scale: i
  jax.block_until_ready(jax.jit(lambda key: sharding.map_over_devices(
      index, jax.device_count(), (), key, 1.0))(jax.random.key(0)))


def _mute(process_id):
  """Keeps what libraries print, and all that the others print, off stdout.

  Gloo prints a line for every group of devices that it connects.
  """
  sys.stdout.flush()
  null = os.open(os.devnull, os.O_WRONLY)
  out = null if process_id else os.dup(1)
  os.dup2(null, 1)
  sys.stdout = open(out, 'w', encoding=sys.stdout.encoding, buffering=1)
