"""Several processes as one run: they meet, work alike, and end together.

They meet (see `rendezvous`), and only when all are there is jax.distributed
started, with its own service on a free port of process 0's host. Only process 0
reads and writes. Where a host vanishes without closing its connection, jax
finds out after HEARTBEAT_S and ends the processes.
"""

from collections.abc import Iterator
import contextlib
import os
import sys
import time
import traceback
from typing import Any

import jax
from jax._src import clusters
from jax.experimental import multihost_utils
import numpy as np

from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.runtime import rendezvous
from meta_analog.runtime import signals

HEARTBEAT_S = 30  # after which jax gives up a host that has gone silent


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
    raise errors.InputError(
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
    raise errors.InputError(
        f'{" and ".join(missing)} missing: a run of several processes needs '
        '--coordinator=HOST:PORT, --num_processes and --process_id, where no '
        'cluster scheduler gives them')
  if not 0 <= process_id < num_processes:
    raise errors.InputError(
        f'--process_id={process_id}: must be from 0 to {num_processes - 1}, '
        f'below --num_processes={num_processes}')
  rendezvous.address(coordinator)
  return None if num_processes == 1 else (
      coordinator, num_processes, process_id, local_ids)


@contextlib.contextmanager
def joined(
    coordinator: str | None, num_processes: int | None,
    process_id: int | None, asked: Any, stop: signals.Interrupts
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
  host, _ = rendezvous.address(coordinator)
  _mute(process_id)
  if process_id == 0:
    lines, port = rendezvous.gather(coordinator, num_processes, asked)
    rendezvous.lead(lines, stop)
  else:
    line, port = rendezvous.call(
        coordinator, num_processes, process_id, asked)
    rendezvous.follow(line, stop)
  # Its handler of SIGTERM would take the place of ours.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
        f'[{host}]:{port}' if ':' in host else f'{host}:{port}', num_processes,
        process_id, local_ids, cluster_detection_method='deactivate',
        initialization_timeout=int(rendezvous.MEET_S),
        heartbeat_timeout_seconds=HEARTBEAT_S)
    _connect()
    yield
  except (errors.RunError, errors.InputError):
    raise
  except Exception as error:
    if isinstance(error, jax.errors.JaxRuntimeError):
      # Most likely another process has died; its closed connection says so.
      time.sleep(rendezvous.END_S)
    traceback.print_exc()
    signals.leave(1)  # At its own exit, jax would wait for the others.


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
  jax.block_until_ready(jax.jit(lambda key: sharding.map_over_devices(
      index, jax.device_count(), (), key, 1.0))(jax.random.key(0)))


def _ask_scheduler(coordinator, num_processes, process_id):
  """Returns them, completed by the scheduler, and this process's devices."""
  try:
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        coordinator, num_processes, process_id, None, None,
        int(rendezvous.MEET_S))
  except Exception as error:  # of a scheduler's own library
    raise errors.InputError(
        f'the cluster scheduler does not say who runs where: '
        f'{errors.reason(error)}; give --coordinator, --num_processes and '
        '--process_id, or --num_processes=1 to run alone') from None
  return found


def _mute(process_id):
  """Keeps what libraries print, and all that the others print, off stdout.

  Gloo prints a line for every group of devices that it connects.
  """
  sys.stdout.flush()
  null = os.open(os.devnull, os.O_WRONLY)
  out = os.dup(1) if process_id == 0 else null
  os.dup2(null, 1)
  sys.stdout = open(out, 'w', encoding=sys.stdout.encoding, buffering=1)
