"""Runs of the program in processes of their own, to be hurt."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = pathlib.Path(__file__).parents[2]
NUM_STEPS = 48
# A net that learns nothing, with much to interrupt.
SMALL = (
    f'--config={ROOT / "configs/pcm.py:tiny"}',
    '--config.network.hidden_sizes=(4,)',
    '--config.network.num_time_steps=8',
    f'--config.training.num_steps={NUM_STEPS}',
    '--config.training.checkpoint_every=4',
    '--config.training.log_every=3',
    '--config.training.tasks_per_step=4',
    '--config.evaluation.num_tasks=8',
    '--config.evaluation.after_s=(251.0,)',
    '--config.evaluation.ordinary_steps=2',
)


class Launcher:
  """Starts launch/main.py, with one compilation cache for all its runs."""

  def __init__(self, cache: pathlib.Path):
    self._cache = f'--cache_dir={cache / "xla"}'

  def start(self, workdir, *arguments, config=SMALL):
    """Returns the process, its output in pipes."""
    return self.command('--workdir', str(workdir), *config, *arguments)

  def command(self, *arguments):
    """Returns the process of launch/main.py with these arguments."""
    # A shell starts background jobs deaf to Ctrl-C, and children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'launch/main.py'), self._cache,
         *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

  def run(self, workdir, *arguments, config=SMALL):
    """Returns the finished process."""
    process = self.start(workdir, *arguments, config=config)
    return end(process)


class ForkLauncher(Launcher):
  """The same, from a process that has done the imports; one run at a time."""

  def __init__(self, cache):
    super().__init__(cache)
    self._server = subprocess.Popen(
        [sys.executable, str(ROOT / 'tests/helpers/fork_server.py')],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    self._output = cache

  def command(self, *arguments):
    """Returns the process."""
    request = {
        'argv': [str(ROOT / 'launch/main.py'), self._cache, *arguments],
        'stdout': str(self._output / 'stdout.txt'),
        'stderr': str(self._output / 'stderr.txt')}
    self._server.stdin.write(json.dumps(request) + '\n')
    self._server.stdin.flush()
    return _Forked(self._server, request)

  def close(self):
    """Ends the server."""
    self._server.stdin.close()
    self._server.wait()


class _Forked:
  """As much of subprocess.Popen as is needed here."""

  def __init__(self, server, request):
    self._server, self._request = server, request
    self.pid = int(server.stdout.readline())
    self.returncode = None

  def poll(self):
    if self.returncode is None and select.select(
        [self._server.stdout], [], [], 0)[0]:
      self.returncode = int(self._server.stdout.readline())
    return self.returncode

  def send_signal(self, signum):
    if self.poll() is None:
      os.kill(self.pid, signum)

  def kill(self):
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout):
    until = time.monotonic() + timeout
    while self.poll() is None:
      assert time.monotonic() < until, 'a run does not end'
      time.sleep(0.01)
    return [pathlib.Path(self._request[name]).read_text()
            for name in ('stdout', 'stderr')]


def end(process, timeout_s=600):
  """Waits; returns (exit code, stdout, stderr)."""
  stdout, stderr = process.communicate(timeout=timeout_s)
  return process.returncode, stdout, stderr


def wait_until(process, condition, timeout_s=300):
  """Returns whether the condition came true while the process lived."""
  until = time.monotonic() + timeout_s
  while process.poll() is None and time.monotonic() < until:
    if condition():
      return True
    time.sleep(0.0005)
  return False


def newest(workdir):
  """Returns the step of the newest checkpoint, 0 where there is none."""
  folder = workdir / 'checkpoints'
  names = os.listdir(folder) if folder.is_dir() else []
  return max((int(name) for name in names if name.isdecimal()), default=0)


def half_written(workdir):
  """Returns the checkpoints that are being written or removed, by inode."""
  folder, found = workdir / 'checkpoints', set()
  if folder.is_dir():
    for entry in os.scandir(folder):
      if entry.name.endswith('.partial'):
        found.add((entry.name, entry.inode()))
  return found


def lines(workdir):
  """Returns metrics.jsonl without what differs between identical runs."""
  found = []
  for text in (workdir / 'metrics.jsonl').read_text().splitlines():
    line = json.loads(text)
    del line['timing']
    found.append(line)
  return found


def outcome(workdir):
  """Returns all that an interrupted run must end with too."""
  summary = json.loads((workdir / 'summary.json').read_text())
  del summary['training']
  with np.load(workdir / 'evaluation.npz', allow_pickle=False) as data:
    arrays = {name: value.tobytes() for name, value in data.items()}
  return {'summary': summary, 'lines': lines(workdir), 'arrays': arrays,
          'state': state(workdir)}


def state(workdir):
  """Returns {name: (dtype, bytes)} of the newest checkpoint, by orbax alone."""
  folder = workdir / 'checkpoints' / str(newest(workdir)) / 'state'
  reader = ocp.PyTreeCheckpointer()
  tree = reader.metadata(folder.absolute()).item_metadata.tree
  plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  return _flat(reader.restore(folder.absolute(), restore_args=plain))


def _flat(tree, prefix=''):
  """Returns {path: bytes} of a restored tree."""
  if isinstance(tree, dict):
    items = tree.items()
  elif isinstance(tree, (list, tuple)):
    items = enumerate(tree)
  else:
    return {} if tree is None else {
        prefix: (str(np.asarray(tree).dtype), np.asarray(tree).tobytes())}
  flat = {}
  for name, value in items:
    flat |= _flat(value, f'{prefix}/{name}')
  return flat


def is_one_line(stderr):
  """Returns whether what a person sees is one line and no traceback."""
  return len(stderr.splitlines()) == 1 and 'Traceback' not in stderr
