"""Benchmark suite: every measurement, one file and one table."""

from collections.abc import Callable
import pathlib
import platform
import time
from typing import Any

import jax
import ml_collections

from meta_analog.benchmarks import devices as device_benchmark
from meta_analog.benchmarks import ensemble
from meta_analog.benchmarks import lif as lif_benchmark
from meta_analog.benchmarks import meta_step
from meta_analog.benchmarks import scaling
from meta_analog.benchmarks import startup
from meta_analog.benchmarks import table
from meta_analog.config import validation
from meta_analog.learning import reference_learner
from meta_analog.reporting import terminal
from meta_analog.runtime import atomic_files
from meta_analog.runtime import environment

TASKS, QUICK_TASKS = 256, 64
ROUNDS, QUICK_ROUNDS = 9, 3
MEMORY_TASKS = (1024,)
# The step that is compared: 1-40-40-1, and pulses by rounding.
PLAIN = {'network__input_channels': 1, 'adapt__encoding': 'nearest'}
FORMAT = 2  # of benchmark.json
LONG = 'some ten minutes'
SHORT = 'some two minutes'
Case = tuple[str, str, Callable[[], dict[str, Any]]]  # key, words, measurement


def run(
    config: ml_collections.ConfigDict, workdir: str, quick: bool
) -> dict[str, Any]:
  """Measures this machine; writes benchmark.json and prints a table.

  The file is written after every case, with those still to come as
  'unmeasured', so that an interrupted suite keeps its results.

  Args:
    config: of the training that is measured; see `validation.check`.
    workdir: folder to write into; made where it is not there.
    quick: fewer tasks, points and rounds; no `meta_step_ridge`, `start`,
      `evaluation`, `ensemble`, and of a step no `compile_s` and no
      `ratio_same_chunks`.

  Returns:
    What benchmark.json holds.

  Raises:
    InputError: if the config or the folder cannot be.
  """
  validation.check(config)
  folder = pathlib.Path(workdir)
  atomic_files.check_writable(folder)
  console = terminal.console()
  out = {'format': FORMAT, 'config': config.name, 'quick': quick,
         'machine': machine(), 'cases': {}, 'curves': {}}
  console.print(
      f'Measuring {config.name} on {jax.device_count()} x '
      f'{out["machine"]["device_kind"]}, into {folder}: '
      f'{SHORT if quick else LONG}. Leave the machine alone meanwhile.')
  began = time.perf_counter()
  todo = [*step_cases(config, quick), *other_cases(config, quick)]
  for i, (name, words, measure) in enumerate(todo):
    console.print(f'{i + 1} of {len(todo)}, at '
                  f'{time.perf_counter() - began:.0f} s: {words}')
    add(out, name, measure())
    out['unmeasured'] = [name for name, _, _ in todo[i + 1:]]
    atomic_files.write_json(folder / 'benchmark.json', out)
  console.print(table.table(out))
  console.print(f'Written to {folder}: benchmark.json.')
  return out


def machine() -> dict[str, Any]:
  """Returns the machine: processor, devices, versions, commit."""
  kinds = sorted({device.device_kind for device in jax.devices()})
  return environment.record() | {'cpu': cpu(), 'device_kinds': kinds}


def cpu() -> str:
  """Returns the name of the processor, of the platform where it is unknown."""
  try:
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        return line.partition(':')[2].strip()
  except OSError:  # not Linux
    pass
  return platform.processor() or platform.machine()


def step_cases(
    config: ml_collections.ConfigDict, quick: bool
) -> list[Case]:
  """Returns the cases of one training step against the reference learner."""
  tasks = QUICK_TASKS if quick else TASKS
  num_rounds = QUICK_ROUNDS if quick else ROUNDS
  more = () if quick else MEMORY_TASKS
  made = {}  # (rule, noisy): its step as a function

  def case(rule, noisy):
    chosen = meta_step.step_config(
        config, noisy=noisy, adapt__rule=rule, training__tasks_per_step=tasks,
        **PLAIN)
    validation.check(chosen)

    def measure():
      out, made[rule, noisy] = meta_step.compare(chosen,
                                                 reference_learner.make,
                                                 num_rounds=num_rounds,
                                                 tasks_of_memory=more,
                                                 quick=quick)
      if noisy:
        out['fraction_random_numbers'] = meta_step.fraction_random_numbers(
            chosen, out['ours_s'], num_rounds)
        out['noise_cost'] = meta_step.cost(
            made[rule, False], made[rule, True],
            (2 if quick else 3) * num_rounds)
      return out

    return measure

  words = f'a training step of {tasks} tasks against the reference learner'
  cases = [('meta_step', words, case('delta', False)),
           ('meta_step_noisy', f'{words}, with read noise',
            case('delta', True))]
  if not quick:
    cases.append(('meta_step_ridge', f'{words}, by ridge regression',
                  case('ridge', False)))
  return cases


def other_cases(config: ml_collections.ConfigDict, quick: bool) -> list[Case]:
  """Returns the other cases, and the curves."""
  num_rounds = QUICK_ROUNDS if quick else ROUNDS
  cases = [('lif', 'spiking neurons against scans and peers', lambda:
            lif_benchmark.measure(lif_benchmark.Size(), num_rounds=num_rounds)),
           ('devices', 'pulses and reads against NumPy',
            lambda: device_benchmark.rates(size=device_benchmark.SIZE,
                                           num_rounds=3 * num_rounds)),
           ('program_verify', 'program-and-verify of an array',
            lambda: device_benchmark.program_verify(size=device_benchmark.PAIRS,
                                                    num_rounds=1
                                                    if quick else num_rounds)),
           ('curves', 'how the cost of a step grows',
            lambda: scaling.measure(config,
                                    scaling.QUICK_AXES
                                    if quick else scaling.AXES,
                                    num_rounds=num_rounds,
                                    **(scaling.QUICK_CHANGES
                                       if quick else {})))]
  if quick:
    return cases
  return cases + [
      ('evaluation', 'a test on fresh chips',
       lambda: startup.test(config, num_rounds=3)),
      ('ensemble', 'seeds in one step against separate runs',
       lambda: ensemble.measure(config)),
      ('start', 'compilation in a process of its own, twice',
       lambda: startup.start(config))]


def add(out: dict[str, Any], name: str, values: dict[str, Any]) -> None:
  """Adds a case, or the curves, to what benchmark.json holds.

  Args:
    out: changed.
    name: of the case.
    values: that were measured.
  """
  if name == 'curves':
    out['curves'] = values
  else:
    out['cases'][name] = values
  out['targets'] = table.targets(out)
