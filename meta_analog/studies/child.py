"""A child process that does not outlive its parent.

    python -m meta_analog.studies.child CORES PARENT COMMAND...

Becomes COMMAND, on the cores 0,1 of CORES, which are set before that program
counts them. Where the parent is killed without a word, Linux sends SIGTERM, on
which a run saves and ends. Other systems know neither, and run COMMAND alone.
"""

from collections.abc import Sequence
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def become(cores: Sequence[int], parent: int, command: list[str]) -> None:
  """Replaces this process by a command; returns only if the parent is gone.

  Args:
    cores: that it may use.
    parent: process that it must not outlive.
    command: program, by its path, and its arguments.
  """
  if sys.platform == 'linux':
    os.sched_setaffinity(0, cores)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
  if os.getppid() == parent:  # else it died before it could be listened to
    os.execv(command[0], command)


def command(cores: Sequence[int], words: Sequence[str]) -> list[str]:
  """Returns the command of a child of this process.

  Args:
    cores: that it may use.
    words: the command that it becomes.
  """
  return [sys.executable, '-m', 'meta_analog.studies.child',
          ','.join(map(str, cores)), str(os.getpid()), *words]


if __name__ == '__main__':
  become([int(core) for core in sys.argv[1].split(',')], int(sys.argv[2]),
         sys.argv[3:])
