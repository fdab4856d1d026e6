"""Signals that stop a run: a training saves first, all else stops at once.

Python runs its handlers between two of its instructions, which a compilation
or a test of the network keeps waiting for a minute. So a thread listens: while
nothing needs saving it ends the process itself.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
import signal
import socket
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHOW_CURSOR = '\x1b[?25h'  # a progress bar hides it
_AT_EXIT = []  # called with the exit code before this process ends


class StopRequest:
  """The signal that asked this process to stop, if one did.

  Attributes:
    signum: of the first signal, or None.
    advice: how to resume, for the line that is printed when the process ends.
  """

  def __init__(self):
    """Listens to nothing yet."""
    self.signum = None
    self.advice = 'the same command begins again'
    self._deferred = False
    self._lock = threading.Lock()

  def listen(self) -> None:
    """Takes the signals over; only in a program's main thread."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    self._sender = sender
    for signum in SIGNALS:
      if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup, background
        signal.signal(signum, lambda *_: None)
    threading.Thread(
        target=self._watch, args=(receiver,), daemon=True).start()

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """While the block runs, a signal only sets `signum`."""
    with self._lock:
      self._deferred = True
    try:
      yield
    except BaseException:
      with self._lock:
        self._deferred = False
      raise
    with self._lock:
      self._deferred = False
      if self.signum is not None:  # It came after the last step.
        exit_process(128 + self.signum, self.message())

  def message(self) -> str:
    """Returns the line that says what happened and how to resume."""
    name = signal.Signals(self.signum).name
    return f'Stopped by {name}; {self.advice}.'

  def _watch(self, receiver):
    """Waits for signals; the first that needs no saving ends the process."""
    while True:
      signum = receiver.recv(1)[0]
      if signum not in SIGNALS:
        continue
      with self._lock:
        self.signum = self.signum or signum
        if not self._deferred:
          exit_process(128 + self.signum, self.message())


def open_streams() -> None:
  """Makes stdout and stderr writable, in a program's first lines.

  What a shell closed (`>&-`) goes to nowhere, lest the next file that is opened
  takes its number and receives what is printed. What an encoding lacks is
  printed as a question mark.
  """
  for number, name in enumerate(('stdin', 'stdout', 'stderr')):
    try:
      os.fstat(number)
    except OSError:  # The lowest number that is free, which is this one.
      os.open(os.devnull, os.O_RDWR)
    if getattr(sys, name) is None:
      setattr(sys, name, open(number, 'w' if number else 'r', closefd=False))
  with contextlib.suppress(AttributeError, ValueError):  # of another's making
    sys.stdout.reconfigure(errors='replace')


def at_exit(fn: Callable[[int], None]) -> None:
  """Has `exit_process` call a function with the exit code, last of all."""
  _AT_EXIT.append(fn)


def exit_process(code: int, message: str = '') -> None:
  """Ends the process without waiting for what its threads compile.

  Args:
    code: exit code.
    message: a line for stderr, or none.
  """
  with contextlib.suppress(OSError, ValueError):
    sys.stdout.flush()
  with contextlib.suppress(OSError, ValueError):
    show = SHOW_CURSOR if sys.stdout.isatty() else ''
    if message:
      print(f'{show}{message}', file=sys.stderr)
    sys.stderr.flush()
  for fn in _AT_EXIT:
    fn(code)
  os._exit(code)
