"""The memory of a run is estimated, and what cannot fit is refused."""

import os
import subprocess
import sys

import pytest

from configs import float as float_config
from configs import nmnist
from configs import omniglot
from configs import pcm
from configs import perf
from meta_analog.config import defaults
from meta_analog.config import memory
from meta_analog.core import errors
from meta_analog.experiment import run
from meta_analog.runtime import environment
from tests.helpers import runs

GB = 10**9
WIDE = {'network.hidden_sizes': (160, 160), 'training.num_steps': 2}
FEW_CHIPS = {'evaluation.num_chips': 40, 'evaluation.num_tasks': 400}
# Peaks of resident memory on 2 cores, GB: of a training, and of evaluating the
# shipped parameters.
MEASURED = ((pcm, WIDE, 1.73), (omniglot, FEW_CHIPS, 2.27))


def _config(module, changes):
  config = module.get_config()
  config.update_from_flattened_dict(changes)
  return config


def _estimate_GB(config, num_cores=2):
  return memory.total(
      defaults.flat(config), config.task.name, num_cores) / GB


@pytest.mark.parametrize('module,changes,peak_GB', MEASURED)
def test_the_estimate_is_the_measured_peak_within_a_factor_of_two(
    module, changes, peak_GB):
  estimate_GB = _estimate_GB(_config(module, changes))
  assert 0.5 * peak_GB < estimate_GB < 2.0 * peak_GB


@pytest.mark.parametrize(
    'module', [pcm, perf, float_config, omniglot, nmnist])
def test_every_shipped_config_fits_a_small_machine(module):
  for variant in ('', *module.VARIANTS):
    memory.check(module.get_config(variant), 4 * GB, 4)


@pytest.mark.parametrize('field,value', [
    ('network.hidden_sizes', (100_000, 100_000)),
    ('network.num_time_steps', 1_000_000),
    ('crossbar.hidden_devices', 10_000),
    ('task.query_size', 1_000_000),
    ('evaluation.num_tasks', 100_000_000),
    ('evaluation.num_chips', 1_000_000)])
def test_what_cannot_fit_is_refused_with_the_field_to_lower(field, value):
  changes = {field: value}
  if field == 'evaluation.num_chips':
    changes['evaluation.num_tasks'] = value
  with pytest.raises(ValueError, match=rf'config\.{field} = .*GB.*lower it'):
    memory.check(_config(pcm, changes), 16 * GB, 2)


def test_a_chunk_of_many_chips_is_refused():
  config = _config(pcm, {'training.tasks_per_step': 4_000_000,
                         'training.chips_per_chunk': 1_000_000})
  with pytest.raises(ValueError, match=r'training\.chips_per_chunk = 1000000'):
    memory.check(config, 16 * GB, 2)


def test_a_run_compares_its_estimate_with_the_machine(monkeypatch, tmp_path):
  monkeypatch.setattr(environment, 'memory_bytes', lambda: 10**6)
  with pytest.raises(errors.InputError, match='GB of memory'):
    run.run(pcm.get_config('tiny'), str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()


def test_the_memory_of_this_machine_is_known():
  assert environment.memory_bytes() > 10**8


@pytest.mark.slow
def test_the_peak_of_a_run_is_that_of_its_estimate(tmp_path):
  arguments = [f'--config.{field}={value}' for field, value in WIDE.items()]
  process = subprocess.Popen(
      [sys.executable, str(runs.ROOT / 'launch/main.py'), '--config=pcm:tiny',
       f'--workdir={tmp_path / "run"}', '--config.evaluation.num_chips=40',
       '--config.evaluation.num_tasks=400', *arguments],
      stdout=subprocess.DEVNULL)
  _, status, usage = os.wait4(process.pid, 0)
  assert status == 0
  peak_GB = usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / GB
  estimate_GB = _estimate_GB(_config(pcm, WIDE | FEW_CHIPS))
  assert 0.5 * peak_GB < estimate_GB < 2.0 * peak_GB
