"""Studies that are really run: interrupted, resumed and finished."""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from meta_analog.runtime import atomic_files
from tests.helpers import runs

# A net that learns nothing, of the devices that compile soonest.
ROWS = """
import ml_collections

def get_config(argument=''):
  c = ml_collections.ConfigDict()
  c.seeds, c.times_s, c.references = (0,), (251.0,), ()
  c.rows = (
      {'name': 'net', 'config': 'configs/perf.py:tiny', 'overrides': {
          'adapt.rule': 'delta', 'adapt.encoding': 'nearest',
          'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
          'training.num_steps': 48, 'training.checkpoint_every': 4,
          'training.tasks_per_step': 4, 'evaluation.num_tasks': 8,
          'evaluation.after_s': (251.0,), 'evaluation.ordinary_steps': 2}},
      {'name': 'signs', 'source': 'net', 'overrides': {
          'adapt.update_bits': 1}})
  return c.lock()
"""


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """Returns the folder of programs that all studies share."""
  return tmp_path_factory.mktemp('cache')


@pytest.fixture
def folder(tmp_path, cache):
  """Returns a folder with the config of a small study."""
  (tmp_path / 'rows.py').write_text(ROWS)
  (tmp_path / 'xla').symlink_to(cache)
  return tmp_path


def _start(folder, *arguments):
  """Returns the process of launch/study.py."""
  # A shell starts background jobs deaf to Ctrl-C, and children inherit it.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  return subprocess.Popen(
      [sys.executable, str(runs.ROOT / 'launch/study.py'),
       f'--config={folder / "rows.py"}', f'--workdir={folder / "study"}',
       f'--cache_dir={folder / "xla"}', *arguments],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _processes(folder):
  """Returns {process: its parent} of the runs of a study."""
  found = {}
  for path in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      words = (path / 'cmdline').read_bytes().split(b'\0')
      status = (path / 'status').read_text()
    except OSError:
      continue
    ours = f'--workdir={folder / "study"}/'.encode()
    if any(word.startswith(ours) for word in words):
      parent = int(status.split('PPid:')[1].split()[0])
      found[int(path.name)] = parent
  return found


def _means(folder):
  """Returns {row: its mean after adaptation}, each of one seed."""
  rows = atomic_files.read_json(folder / 'study/table.json')['cases']
  return {row['name']: [seed['after_by_time_s']['251']['mean']
                        for seed in row['seeds']] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize('signum', (signal.SIGTERM, signal.SIGINT))
def test_a_study_is_interrupted_and_resumed_and_ends_with_its_table(
    folder, signum):
  net = folder / 'study/runs/net/seed=0'
  test = folder / 'study/tests/signs/seed=0'
  process = _start(folder, '--processes=2')
  assert runs.wait_until(process, lambda: runs.newest(net) >= 4)
  process.send_signal(signum)
  code, _, stderr = runs.end(process)
  assert code == 128 + signum and runs.is_one_line(stderr), stderr
  assert 'the same command resumes' in stderr
  assert not _processes(folder)
  saved = runs.newest(net)
  assert 4 <= saved < 48 and not test.exists()
  code, stdout, stderr = runs.end(_start(folder, '--processes=2'))
  assert code == 0, (stdout, stderr)
  assert f'from step {saved}' in (net / 'log.txt').read_text()
  means = _means(folder)
  for name, place in (('net', net), ('signs', test)):
    summary = atomic_files.read_json(place / 'summary.json')
    assert [summary['after']['mean']] == means[name]
    assert summary['training']['steps'] == 48
  # The test met the tasks of the run, and wrote its own arrays beside it.
  a, b = (np.load(place / 'evaluation.npz') for place in (net, test))
  # Another program rounds otherwise, in the last digit of a sine.
  assert np.allclose(a['query_y'], b['query_y'], atol=1e-5)
  assert not np.allclose(a['query_after'], b['query_after'], rtol=0.1)


@pytest.mark.slow
def test_seeds_in_one_step_end_in_one_table(folder):
  code, stdout, stderr = runs.end(_start(folder, '--seeds=0,1', '--vmap'))
  assert code == 0, (stdout, stderr)
  means = _means(folder)
  assert len({*means['net'], *means['signs']}) == 4
  assert (folder / 'study/vmapped/net/seeds=0,1/log.txt').is_file()


class Cluster:
  """A dask scheduler and its workers on the loopback address."""

  def __init__(self, folder, num_workers):
    self.file, self.folder = folder / 'scheduler.json', folder
    self.processes = [self._start(
        'scheduler', '--host=127.0.0.1', '--port=0')]
    self.processes += [self._start(
        'worker', '--nthreads=1', '--no-nanny', '--host=127.0.0.1',
        f'--local-directory={folder / "dask"}') for _ in range(num_workers)]

  def _start(self, what, *arguments):
    return subprocess.Popen(
        [sys.executable, '-m', f'distributed.cli.dask_{what}', *arguments,
         f'--scheduler-file={self.file}', '--no-dashboard'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

  def address(self):
    """Returns HOST:PORT of the scheduler."""
    until = time.monotonic() + 60
    while not (self.file.is_file() and self.file.read_text().strip()):
      assert time.monotonic() < until
      time.sleep(0.05)
    return atomic_files.read_json(self.file)['address'].removeprefix('tcp://')

  def close(self):
    """Ends all of it."""
    for process in self.processes:
      process.kill()
      process.wait()


@pytest.fixture
def cluster(folder):
  """Two workers, of which one can be killed."""
  pytest.importorskip('distributed')
  made = Cluster(folder, 2)
  yield made
  made.close()


@pytest.mark.slow
def test_where_a_worker_is_killed_another_completes_its_run(folder, cluster):
  process = _start(folder, '--seeds=0,1', f'--scheduler={cluster.address()}')
  nets = [folder / f'study/runs/net/seed={seed}' for seed in (0, 1)]
  assert runs.wait_until(
      process, lambda: any(runs.newest(net) >= 4 for net in nets))
  parents = {*_processes(folder).values()}
  workers = [worker for worker in cluster.processes[1:]
             if worker.pid in parents]
  assert workers, parents
  workers[0].kill()
  code, stdout, stderr = runs.end(process)
  assert code == 0, (stdout, stderr)
  assert {name: len(means) for name, means in _means(folder).items()} == {
      'net': 2, 'signs': 2}
  logs = [(net / 'log.txt').read_text() for net in nets]
  assert sum(log.count('$ ') for log in logs) == 3  # one of them twice
  assert not _processes(folder)


@pytest.mark.slow
def test_an_interrupted_study_ends_the_runs_of_its_workers(folder, cluster):
  process = _start(folder, f'--scheduler={cluster.address()}')
  net = folder / 'study/runs/net/seed=0'
  assert runs.wait_until(process, lambda: runs.newest(net) >= 4)
  process.send_signal(signal.SIGINT)
  code, _, stderr = runs.end(process)
  assert code == 130 and 'the same command resumes' in stderr
  assert not _processes(folder)
  assert 4 <= runs.newest(net) < 48


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_refused_in_one_line(folder):
  pytest.importorskip('distributed')
  code, _, stderr = runs.end(_start(folder, '--scheduler=127.0.0.1:1'))
  assert code == 2 and runs.is_one_line(stderr), stderr
  assert '--scheduler=127.0.0.1:1' in stderr
