"""Faults injected for real: killed, stopped, full, read-only, not a number."""

import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.experiment import reproduce
from meta_analog.experiment import run
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.learning import losses
from meta_analog.runtime import atomic_files
from meta_analog.runtime import environment
from meta_analog.runtime import signals as signals_lib
from meta_analog.training import meta_training
from meta_analog.training import training_loop
from tests.helpers import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def launcher(tmp_path_factory):
  return runs.Launcher(tmp_path_factory.mktemp('cache'))


@pytest.fixture(scope='module')
def reference(launcher, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('reference') / 'run'
  code, _, stderr = launcher.run(workdir)
  assert code == 0 and stderr == ''
  return workdir


def _mount(folder, *options):
  """Mounts or remounts a tmpfs; returns whether this machine lets us."""
  try:
    return subprocess.run(['mount', '-t', 'tmpfs', *options, 'tmpfs',
                           str(folder)], capture_output=True,
                          check=False).returncode == 0
  except OSError:
    return False


@pytest.fixture(scope='module')
def small_disk(tmp_path_factory):
  """A disk of 4 MB, or None where nothing can be mounted."""
  folder = tmp_path_factory.mktemp('disk')
  if not _mount(folder, '-o', 'size=4m'):
    yield None
    return
  yield folder
  subprocess.run(['umount', '-l', str(folder)], check=False)


def _stop(launcher, workdir, condition, *signals):
  """Signals a run once the condition holds; returns code, stdout, stderr."""
  process = launcher.start(workdir)
  assert runs.wait_until(process, condition), runs.end(process)
  for signum in signals:
    process.send_signal(signum)
  return runs.end(process)


def _run_without_space(launcher, workdir, before):
  """Checks a run on a disk without space for one more checkpoint."""
  atomic_files.remove_partial(workdir / 'checkpoints')
  with (workdir.parent / 'ballast').open('wb', buffering=0) as file:
    with pytest.raises(OSError):
      while True:
        file.write(bytes(4096))
    file.truncate(file.tell() - 40960)
  code, _, stderr = launcher.run(workdir)
  assert code == 1 and runs.is_one_line(stderr)
  assert 'checkpoint' in stderr and 'No space left' in stderr
  assert f'resumes from the checkpoint of step {before}' in stderr
  assert runs.newest(workdir) == before


def _flip_a_bit(checkpoint):
  """Flips a bit in the last file of a checkpoint's state."""
  file = max((checkpoint / 'state').rglob('d/*'))
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    launcher, reference, small_disk, tmp_path):
  disk = small_disk or tmp_path
  workdir = disk / 'run'
  # Before the first step there is nothing to save, so it stops at once.
  code, _, stderr = _stop(
      launcher, workdir, (workdir / 'run.json').is_file, signal.SIGTERM)
  assert code == 143 and runs.is_one_line(stderr) and 'SIGTERM' in stderr
  # Killed in the middle of writing a checkpoint.
  code, _, _ = _stop(
      launcher, workdir,
      lambda: runs.newest(workdir) >= 4 and runs.half_written(workdir),
      signal.SIGKILL)
  assert code == -9
  before = runs.newest(workdir)
  if small_disk:
    _run_without_space(launcher, workdir, before)
    assert _mount(disk, '-o', 'remount,size=50m')
  # SIGTERM, then SIGTERM again while it saves: saved, and a line says so.
  code, stdout, stderr = _stop(
      launcher, workdir, lambda: runs.newest(workdir) > before,
      signal.SIGTERM, signal.SIGTERM)
  assert f'Resuming from step {before}' in stdout
  assert code == 143 and runs.is_one_line(stderr), stderr
  saved = runs.newest(workdir)
  assert f'step {saved} is saved' in stderr and 'same command' in stderr
  # Ctrl-C.
  code, stdout, stderr = _stop(
      launcher, workdir, lambda: runs.newest(workdir) > saved, signal.SIGINT)
  assert f'Resuming from step {saved}' in stdout
  assert code == 130 and runs.is_one_line(stderr), stderr
  # One bit of the newest checkpoint flips: the one before is taken.
  newest = runs.newest(workdir)
  _flip_a_bit(workdir / 'checkpoints' / str(newest))
  code, stdout, stderr = launcher.run(workdir)
  assert code == 0 and stderr == '', stderr
  assert f'checkpoint {newest} is damaged' in stdout
  assert runs.outcome(workdir) == runs.outcome(reference)
  commands = json.loads((workdir / 'run.json').read_text())['commands']
  assert commands[-1]['from_step'] < newest and commands[-1]['cores'] >= 1


def test_one_line_where_the_workdir_is_held_or_cannot_be_written(
    launcher, small_disk, tmp_path):
  with workdir_lib.locked(tmp_path / 'run'):
    code, _, stderr = launcher.run(tmp_path / 'run')
  assert code == 2 and runs.is_one_line(stderr) and 'in use' in stderr
  if small_disk is None:
    pytest.skip('no file system can be mounted here')
  assert _mount(small_disk, '-o', 'remount,ro')
  code, _, stderr = launcher.run(small_disk / 'other')
  assert _mount(small_disk, '-o', 'remount,rw')
  assert code == 2 and runs.is_one_line(stderr) and 'Read-only' in stderr


@pytest.mark.soak  # for its length
def test_a_damaged_summary_is_computed_again(launcher, reference, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(reference, workdir)
  path = workdir / 'summary.json'
  whole = json.loads(path.read_text())
  path.write_text(path.read_text().replace('"mean": ', '"mean": 1', 1))
  (workdir / 'metrics.jsonl').write_text('{"step": 1, "lo')
  code, stdout, stderr = launcher.run(workdir)
  assert code == 0 and 'summary.json is damaged' in stdout and stderr == ''
  again = json.loads(path.read_text())
  del whole['training'], again['training']
  assert again == whole
  assert runs.lines(workdir) == runs.lines(reference)


def test_a_run_records_what_its_numbers_depend_on(reference):
  record = json.loads((reference / 'run.json').read_text())['commands'][0]
  assert record['versions']['jax'] == jax.__version__
  assert record['overrides']['training.num_steps'] == str(runs.NUM_STEPS)
  assert record['seed'] == 0 and record['platform'] == 'cpu'
  assert len(record['commit'] or '0' * 40) == 40
  manifest = json.loads(
      next((reference / 'checkpoints').glob('*/manifest.json')).read_text())
  assert manifest['environment']['cores'] == record['cores']
  config = atomic_files.read_json(reference / 'config.json')
  assert manifest['config'] == config


def test_metrics_say_how_it_goes_at_the_promised_steps(reference):
  lines = [json.loads(text) for text in
           (reference / 'metrics.jsonl').read_text().splitlines()]
  assert [line['step'] for line in lines] == [
      1, *range(3, runs.NUM_STEPS + 1, 3)]
  for line in lines:
    assert {'support_loss', 'query_loss', 'pulses_per_task', 'rate_Hz',
            'gradient_norm', 'share_at_bound', 'timing'} <= set(line)
    assert 0 <= line['share_at_bound'] <= 1
  assert lines[-1]['timing']['left_s'] == 0
  assert lines[-1]['timing']['tasks_per_s'] > 0
  walls = [line['timing']['wall_s'] for line in lines]
  assert walls == sorted(walls)


def _bad_config(folder):
  """A training whose second update throws the parameters to infinity."""
  config = [*runs.SMALL, '--config.training.learning_rate=1e30',
            '--config.training.clip_norm=1e30',
            '--config.training.warmup_fraction=0.1',
            '--config.training.log_every=20',
            '--config.training.checkpoint_every=1000']
  return folder, config


@pytest.fixture(scope='module')
def gone_wrong(launcher, tmp_path_factory):
  workdir, config = _bad_config(tmp_path_factory.mktemp('nan') / 'run')
  return workdir, launcher.run(workdir, config=config)


def test_the_first_step_that_is_not_finite_stops_the_run(gone_wrong):
  workdir, (code, _, stderr) = gone_wrong
  assert code == 3 and runs.is_one_line(stderr), stderr
  assert '--mode=reproduce' in stderr and 'layer_0' in stderr
  step = json.loads(
      (workdir / 'reproducer/manifest.json').read_text())['step']
  assert f'step {step}: not finite: loss' in stderr
  # Between two logged steps, and the first: an earlier one would have left its
  # NaN in the parameters and in the moments of Adam.
  assert 1 < step < 20
  with np.load(workdir / 'reproducer/reproducer.npz',
               allow_pickle=False) as data:
    assert int(data['state/step']) == step - 1
    assert all(np.all(np.isfinite(value)) for value in data.values())
    assert {'state/params/meta/layer_0/u', 'key_data'} <= set(data)
    config = saved_config.get_config(str(workdir))
    trainer = meta_training.make(config, build.build(config))
    key = jax.random.wrap_key_data(data['key_data'])
    batch = trainer.batch(step - 1, key)
    assert data['batch/support/x'].shape == (1, 4, 20, 1)
    assert np.array_equal(data['batch/query/y'], batch.query.y)


def test_reproduce_repeats_the_step_and_says_where(gone_wrong):
  workdir, _ = gone_wrong
  config = saved_config.get_config(str(workdir))
  found = run.run(config, str(workdir), 'reproduce')
  assert 'loss' in found['not_finite'] and found['chips'] == [0]
  assert 'nan' in found['where'] and 'meta_analog/' in found['where']


def test_a_damaged_reproducer_is_refused_in_one_line(gone_wrong, tmp_path):
  workdir, _ = gone_wrong
  shutil.copytree(workdir / 'reproducer', tmp_path / 'reproducer')
  path = tmp_path / 'reproducer' / reproduce.ARRAYS
  path.write_bytes(path.read_bytes()[:-5])
  config = saved_config.get_config(str(workdir))
  with pytest.raises(errors.CorruptFileError, match='reproducer is damaged'):
    reproduce._read(tmp_path, config, None)


def test_other_cores_and_versions_are_told_apart():
  now = environment.record()
  assert environment.changes(now, now) == []
  before = now | {'cores': 64, 'versions': now['versions'] | {'jax': '0.1'}}
  found = environment.changes(before, now)
  assert found == [f'cores 64, now {now["cores"]}',
                  f'jax 0.1, now {jax.__version__}']


def test_wandb_is_imported_by_nobody_who_did_not_ask():
  code = ('import sys; import meta_analog.experiment.run; '
          'assert "wandb" not in sys.modules')
  subprocess.run([sys.executable, '-c', code], check=True, cwd=runs.ROOT,
                 env=os.environ | {'PYTHONPATH': str(runs.ROOT)})


def test_nothing_is_read_by_pickle():
  for path in (runs.ROOT / 'meta_analog').rglob('*.py'):
    text = path.read_text()
    assert 'import pickle' not in text and 'allow_pickle=True' not in text
    assert text.count('np.load(') == text.count('allow_pickle=False'), path


def test_a_dead_layer_is_said_once_and_so_is_its_return():
  logged = []
  silence = training_loop._Silence(logged.append, '')
  rates_Hz = [5.0, 3.0], [0.0, 3.0], [0.0, 3.0], [4.0, 3.0]
  for step, rates in enumerate(rates_Hz):
    silence.update(step, rates)
  assert len(logged) == 2
  assert 'layer 1 is dead at step 1' in logged[0] and 'again' in logged[1]


def test_the_share_of_devices_at_a_bound_counts_both_ends():
  share = losses.share_at_bound(
      [np.float32([0.1, 5.0, 12.0]), np.float32([[3.0]])], (0.1, 12.0))
  assert float(share) == 0.5


def test_signals_wait_while_a_block_saves(monkeypatch):
  left = []
  monkeypatch.setattr(signals_lib, 'exit_process', lambda *a: left.append(a))
  stop = signals_lib.StopRequest()
  with stop.deferred():
    stop.signum = signal.SIGTERM
    assert not left
  assert left == [(143, f'Stopped by SIGTERM; {stop.advice}.')]
