"""100 kills at random moments and 1,000 damaged files: python -m pytest -m soak

Every run ends bit-identical to one that was never interrupted; every damaged
checkpoint is seen, and the one before is taken. Each process prints a line (to
be seen with -s); the environment variable SOAK_SEED gives other moments.
"""

import json
import os
import pathlib
import shutil
import time

import jax
import numpy as np
import pytest

from meta_analog.config import build
from meta_analog.experiment import saved_config
from meta_analog.runtime import checkpoints
from meta_analog.training import meta_training
from tests.helpers import runs

NUM_KILLS, NUM_DAMAGED, KILLS_PER_RUN = 100, 1000, 20
NUM_STEPS = 160
CONFIG = (f'--config={runs.ROOT / "configs/perf.py:tiny"}', *runs.SMALL[1:],
          f'--config.training.num_steps={NUM_STEPS}')
SEED = int(os.environ.get('SOAK_SEED', '0'))
pytestmark = [pytest.mark.slow, pytest.mark.soak]


@pytest.fixture(scope='module')
def launcher(tmp_path_factory):
  launcher = runs.ForkLauncher(tmp_path_factory.mktemp('cache'))
  yield launcher
  launcher.close()


@pytest.fixture(scope='module')
def reference(launcher, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('reference') / 'run'
  code, _, stderr = launcher.run(workdir, config=CONFIG)
  assert code == 0, stderr
  return workdir


def _wait(kind, process, workdir, rng):
  """Waits for a moment of some kind; returns whether the process lives on."""
  start, left = runs.newest(workdir), runs.half_written(workdir)
  if kind == 'write':  # not what an earlier kill left half written
    runs.wait_until(process, lambda: runs.half_written(workdir) - left)
    time.sleep(rng.uniform(0, 0.15))
  elif kind == 'step':
    runs.wait_until(process, lambda: runs.newest(workdir) > start)
    time.sleep(rng.uniform(0, 1.0))
  else:
    time.sleep(rng.uniform(0, 20.0))
  return process.poll() is None


def _check_metrics(workdir):
  """A killed run's metrics hold no step twice and no half line."""
  path = workdir / 'metrics.jsonl'
  if path.is_file():
    steps = [json.loads(text)['step'] for text in path.read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_100_killed_runs_end_bit_identical(launcher, reference, tmp_path):
  rng = np.random.default_rng(SEED)
  expected = runs.outcome(reference)
  began, kills, ended, life = time.monotonic(), 0, 0, 0
  while kills < NUM_KILLS:
    workdir, life = tmp_path / f'run_{life}', life + 1
    for _ in range(KILLS_PER_RUN):
      kind = str(rng.choice(['write', 'step', 'any'], p=[0.45, 0.4, 0.15]))
      process = launcher.start(workdir, config=CONFIG)
      alive = _wait(kind, process, workdir, rng)
      process.kill()
      code, _, stderr = runs.end(process)
      left = runs.half_written(workdir)
      if not alive or code == 0:
        assert code == 0, stderr
        break
      assert code == -9 and 'Traceback' not in stderr, stderr
      kills += 1
      _check_metrics(workdir)
      print(f'{time.monotonic() - began:6.0f} s  run {life} kill {kills}: '
            f'{kind}, checkpoint {runs.newest(workdir)}'
            f'{", one half written" if left else ""}', flush=True)
      if kills == NUM_KILLS:
        break
    code, _, stderr = launcher.run(workdir, config=CONFIG)
    assert code == 0 and stderr == '', stderr
    assert runs.outcome(workdir) == expected
    ended += 1
    print(f'{time.monotonic() - began:6.0f} s  run {life} is bit-identical',
          flush=True)
    shutil.rmtree(workdir)
  print(f'{kills} kills, {ended} runs, all bit-identical', flush=True)


def _damage(path, rng):
  """Damages one file; returns how."""
  data = path.read_bytes()
  kind = str(rng.choice(
      ['flip', 'flip', 'truncate', 'empty', 'delete', 'garbage', 'append']))
  if kind == 'delete':
    path.unlink()
  elif kind == 'empty':
    path.write_bytes(b'')
  elif kind == 'truncate':
    path.write_bytes(data[:rng.integers(len(data))])
  elif kind == 'append':
    path.write_bytes(data + rng.bytes(5))
  elif kind == 'garbage':
    path.write_bytes(rng.bytes(len(data) + 1))
  else:
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(changed)
  return kind


@pytest.mark.fuzz
def test_1000_damaged_files_are_seen_and_the_one_before_is_taken(
    reference, tmp_path):
  rng = np.random.default_rng(SEED)
  shutil.copytree(reference / 'checkpoints', tmp_path / 'checkpoints')
  config = saved_config.get_config(str(reference))
  template = jax.jit(meta_training.make(config, build.build(config)).init)(
      jax.random.key(config.seed))
  kept = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  newest, before = kept.steps()[:2]
  folder = tmp_path / 'checkpoints' / str(newest)
  expected = checkpoints.digest(kept.restore(before, template).state)
  names = sorted(p for p in folder.rglob('*') if p.is_file())
  kinds = {}
  for i in range(NUM_DAMAGED):
    path = pathlib.Path(names[i % len(names)])
    whole = path.read_bytes()
    kind = _damage(path, rng)
    kinds[kind] = kinds.get(kind, 0) + 1
    logged = []
    restored = kept.newest(template, logged.append)
    assert int(restored.state.step) == before, (path, kind)
    assert checkpoints.digest(restored.state) == expected, (path, kind)
    assert len(logged) == 1 and '\n' not in logged[0], logged
    path.write_bytes(whole)
  assert int(kept.newest(template, pytest.fail).state.step) == newest
  print(f'{NUM_DAMAGED} damaged: {kinds}, in {len(names)} files', flush=True)
