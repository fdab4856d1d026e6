"""A grid that is really run: stopped, gone on with, and finished."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from meta_analog.runtime import atomic_files
from tests.helpers import runs

# A net that learns nothing, of the devices that compile soonest.
CASES = """
import ml_collections

def get_config(argument=''):
  c = ml_collections.ConfigDict()
  c.seeds, c.times_s, c.references = (0,), (251.0,), ()
  c.cases = (
      {'name': 'net', 'config': 'configs/perf.py:tiny', 'overrides': {
          'adapt.rule': 'delta', 'adapt.encoding': 'nearest',
          'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
          'training.num_steps': 48, 'training.checkpoint_every': 4,
          'training.tasks_per_step': 4, 'evaluation.num_tasks': 8,
          'evaluation.after_s': (251.0,), 'evaluation.ordinary_steps': 2}},
      {'name': 'signs', 'of': 'net', 'overrides': {'adapt.update_bits': 1}})
  return c.lock()
"""


def _start(folder):
  """Returns the process of launch/sweep.py."""
  return subprocess.Popen(
      [sys.executable, str(runs.ROOT / 'launch/sweep.py'), '--processes=2',
       f'--config={folder / "cases.py"}', f'--workdir={folder / "grid"}',
       f'--cache_dir={folder / "xla"}'],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_grid_is_stopped_goes_on_and_ends_with_its_table(tmp_path):
  (tmp_path / 'cases.py').write_text(CASES)
  net = tmp_path / 'grid/runs/net/seed=0'
  test = tmp_path / 'grid/tests/signs/seed=0'
  process = _start(tmp_path)
  assert runs.wait_until(process, lambda: runs.newest(net) >= 4)
  process.send_signal(signal.SIGTERM)
  code, _, stderr = runs.end(process)
  assert code == 143 and runs.is_one_line(stderr), stderr
  assert 'the same command goes on' in stderr
  saved = runs.newest(net)
  assert 4 <= saved < 48 and not test.exists()
  code, stdout, stderr = runs.end(_start(tmp_path))
  assert code == 0, (stdout, stderr)
  assert f'Going on from step {saved}' in (net / 'log.txt').read_text()
  scores = {}
  for case in atomic_files.read_json(tmp_path / 'grid/table.json')['cases']:
    assert len(case['seeds']) == 1
    scores[case['name']] = case['all']['after_by_time_s']['251']['mean']
  for name, folder in (('net', net), ('signs', test)):
    summary = atomic_files.read_json(folder / 'summary.json')
    assert summary['after']['mean'] == scores[name]
    assert summary['training']['steps'] == 48
  # The test met the tasks of the run, and wrote its own arrays beside it.
  a, b = (np.load(folder / 'evaluation.npz') for folder in (net, test))
  # Another program rounds otherwise, in the last digit of a sine.
  assert np.allclose(a['query_y'], b['query_y'], atol=1e-5)
  assert not np.allclose(a['query_after'], b['query_after'], rtol=0.1)
