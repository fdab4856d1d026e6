"""Processes that find each other, and the connections that tell of an end.

Process 0 listens at the coordinator's address until all others have called, and
checks that all were asked for the same. The connections stay open for as long
as the run lasts: over them process 0 tells the others to end, and they pass on
their signals. The connection of a process that dies is closed, and all know.
"""

import contextlib
import json
import os
import socket
import threading
import time
from typing import Any

from meta_analog.core import errors
from meta_analog.experiment import workdir
from meta_analog.runtime import signals

MEET_S = 120.0  # how long processes wait for each other at the start
CALL_S = 10.0  # for one caller to say who it is
END_S = 5.0  # for the others to end before process 0 does
SIGNAL, END = b's', b'e'  # messages: one of these and a byte


def address(coordinator: str) -> tuple[str, int]:
  """Returns host and port of HOST:PORT.

  Raises:
    settings.InputError: if it is not that.
  """
  host, _, port = coordinator.rpartition(':')
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise errors.InputError(
        f'--coordinator={coordinator}: must be HOST:PORT, such as '
        'localhost:1234')
  return host.strip('[]'), int(port)


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
  _, port = address(coordinator)
  until, lines = time.monotonic() + wait_s, {}
  try:
    server = socket.create_server(('', port), reuse_port=False)
  except OSError as error:
    raise errors.InputError(
        f'--coordinator={coordinator}: process 0 cannot listen on port {port}: '
        f'{errors.reason(error)}') from None
  with server:
    while len(lines) < num_processes - 1:
      server.settimeout(max(until - time.monotonic(), 0.01))
      try:
        line, _ = server.accept()
      except TimeoutError:
        missing = set(range(1, num_processes)) - lines.keys()
        raise errors.InputError(
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
        raise errors.InputError(wrong)
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
      line = socket.create_connection(address(coordinator), timeout=CALL_S)
      break
    except OSError as error:
      if time.monotonic() > until:
        raise errors.InputError(
            f'--coordinator={coordinator}: process 0 was not reached in '
            f'{wait_s:g} s: {errors.reason(error)}') from None
      time.sleep(0.1)
  _write(line, {'process_id': process_id, 'num_processes': num_processes,
                'asked': asked})
  answer = _read(line, max(until - time.monotonic(), 0) + CALL_S)
  if isinstance(answer, dict) and 'port' in answer:
    line.settimeout(None)
    return line, answer['port']
  error = answer.get('error') if isinstance(answer, dict) else None
  raise errors.InputError(error or (
      f'process 0 at {coordinator} ended before the run began, or is none of '
      'this program'))


def lead(
    lines: dict[int, socket.socket], stop: signals.Interrupts
) -> None:
  """Listens, as process 0, to the others; tells them when this one ends.

  Args:
    lines: the connection to each.
    stop: gives the advice for the line that is said when another ends.
  """
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
        signals.leave(
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

  signals.at_end(end)
  for thread in threads:
    thread.start()


def follow(line: socket.socket, stop: signals.Interrupts) -> None:
  """Listens to process 0 and ends as it does; passes signals on to it.

  Args:
    line: the connection.
    stop: the signals of this process.
  """
  def hear():
    kind, value = _heard(line)
    if kind == END:
      signals.leave(value)
    signals.leave(
        1, 'error: process 0 is gone; the same commands go on '
        'from its newest checkpoint')

  stop.pass_on(lambda signum: _tell(line, SIGNAL, signum))
  signals.at_end(lambda code: _tell(line, END, code))
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
