"""Becomes another program, on some cores, that ends when its parent does.

    python grid_worker.py 0,1 PARENT COMMAND...

The cores are set before that program counts them. Where the parent is killed
without a word, Linux sends SIGTERM, on which a run saves and ends.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def become(cores: set[int], parent: int, command: list[str]) -> None:
  """Replaces this process by a command; returns only if the parent is gone.

  Args:
    cores: that it may use.
    parent: process that it must not outlive.
    command: program, by its path, and its arguments.
  """
  os.sched_setaffinity(0, cores)
  ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
  if os.getppid() == parent:  # else it died before it could be listened to
    os.execv(command[0], command)


if __name__ == '__main__':
  become({int(core) for core in sys.argv[1].split(',')}, int(sys.argv[2]),
         sys.argv[3:])
