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

# Whose devices take more than half of what a run needs: without them the
# estimate would be below half of the peak.
MANY_DEVICES = {
    'network.hidden_sizes': (600, 600), 'network.num_time_steps': 12,
    'training.num_steps': 1, 'training.tasks_per_step': 1,
    'training.tasks_per_chip': 1, 'evaluation.num_chips': 2,
    'evaluation.num_tasks': 4, 'evaluation.after_s': (251.0,),
    'evaluation.ordinary_steps': 1}
# Linux counts what a process was before it became another program, and pytest
# may be large: a small process starts the run and says what it took.
MEASURE = '''
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=sys.stderr, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
'''


def _peak_GB(*arguments):
  """Returns the resident memory of Python with these arguments at its peak."""
  # As a person runs it: without optimisation draws take longest.
  usual = {name: value for name, value in os.environ.items()
           if name != 'XLA_FLAGS'}
  process = subprocess.run(
      [sys.executable, '-c', MEASURE, *arguments], env=usual,
      stdout=subprocess.PIPE, text=True, check=True)
  return int(process.stdout) * (1 if sys.platform == 'darwin' else 1024) / GB


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
  config = _config(pcm, pcm.VARIANTS['tiny'] | MANY_DEVICES)
  arguments = [f'--config.{field}={value}'
               for field, value in MANY_DEVICES.items()]
  peak_GB = _peak_GB(
      str(runs.ROOT / 'launch/main.py'), '--config=pcm:tiny',
      f'--workdir={tmp_path / "run"}', *arguments)
  estimate_GB = _estimate_GB(config, environment.num_cores())
  assert 0.5 * peak_GB < estimate_GB < 2.0 * peak_GB
