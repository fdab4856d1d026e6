"""Starts runs by forking a process that has imported all and done nothing.

Imports are a third of a short run's work. One line of JSON in, the arguments
of launch/main.py and files for its output; one line out, the process's number,
and when it ends, its exit code.
"""

import json
import os
import runpy
import signal
import sys

ROOT = os.path.abspath(f'{__file__}/../../..')


def main():
  """Forks for each line."""
  sys.path.insert(0, ROOT)
  import matplotlib.pyplot  # noqa: F401
  import orbax.checkpoint  # noqa: F401

  import meta_analog.experiment.run  # noqa: F401
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
      _become(request)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request):
  """Runs the program in this process, which ends with it."""
  signal.signal(signal.SIGINT, signal.default_int_handler)
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, number)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  sys.argv = request['argv']
  try:
    runpy.run_path(sys.argv[0], run_name='__main__')
  finally:
    os._exit(70)  # the program ends itself before


if __name__ == '__main__':
  main()
