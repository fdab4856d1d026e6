"""Cluster backend of a study: jobs on the workers of a dask scheduler.

    dask scheduler --port 8786
    dask worker HOST:8786 --nthreads 1            (on each machine)
    python launch/study.py --config FILE --scheduler HOST:8786 --workdir DIR

DIR is on a file system that all machines see under the same path. A job has the
cores of its worker. Where a worker dies, its child saves and ends, and dask
hands the job to another worker, which resumes from the newest checkpoint.
"""

from collections.abc import Iterator
import contextlib
import functools
import uuid

from meta_analog.core import errors
from meta_analog.runtime import environment
from meta_analog.studies import executor
from meta_analog.studies import jobs as jobs_lib

CONNECT_S = 10.0
STOP = 'meta-analog-stop-'  # and the number of a study's execution


@contextlib.contextmanager
def connected(address: str) -> Iterator[executor.Backend]:
  """Yields the backend of a scheduler.

  Args:
    address: HOST:PORT of the scheduler.

  Raises:
    InputError: if dask is not installed or the scheduler is not reached.
  """
  try:
    import distributed  # an extra
  except ImportError:
    raise errors.InputError(
        "--scheduler needs the extra: python -m pip install -e '.[cluster]'"
    ) from None
  try:
    client = distributed.Client(address, timeout=CONNECT_S)
  except (OSError, ValueError) as error:
    raise errors.InputError(
        f'--scheduler={address}: {errors.reason(error)}') from None
  with client:
    name = STOP + uuid.uuid4().hex
    stop = distributed.Event(name, client=client)
    pool = client.get_executor(pure=False)
    try:
      yield executor.Backend(
          pool, functools.partial(execute, name),
          lambda: max(1, sum(client.nthreads().values())), stop.set)
    finally:
      pool.shutdown(wait=False)  # Jobs of workers that are gone never end.


def execute(stop_name: str, job: jobs_lib.Job) -> jobs_lib.Ended:
  """Runs a job on the worker that calls this.

  Args:
    stop_name: of the scheduler's event that ends all jobs.
    job: to run.
  """
  import distributed  # an extra
  stop = distributed.Event(stop_name)
  return jobs_lib.execute(
      job, sorted(environment.usable_cores()), stop.is_set, pause_s=1.0)
