"""One run from a config to a summary: train, test, draw, report."""

from concurrent import futures
import json
import os
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np
import rich.console

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import evaluation
from meta_analog import files
from meta_analog import metrics
from meta_analog import report
from meta_analog import settings
from meta_analog import showcase
from meta_analog import training

MODES = ('train', 'evaluate')


def run(
    config: ml_collections.ConfigDict, workdir: str, mode: str = 'train'
) -> dict[str, Any]:
  """Runs one config in one folder and returns its summary.

  Args:
    config: see `settings.check`.
    workdir: folder of the run; made where it is not there.
    mode: 'train' trains, tests and draws, or goes on where a run of the same
      config stopped, or prints the summary of a finished one. 'evaluate' tests
      a trained run again and writes evaluation.json.

  Returns:
    What summary.json, or evaluation.json, holds.

  Raises:
    settings.InputError: if the config, the folder or the mode cannot be.
  """
  if mode not in MODES:
    raise settings.InputError(f'mode = {mode!r}: must be one of {MODES}')
  settings.check(config)
  console = rich.console.Console(highlight=False, soft_wrap=True)
  folder = pathlib.Path(workdir)
  if mode == 'evaluate':
    return _evaluate(config, folder, console)
  _open_folder(config, folder)
  finished = folder / 'summary.json'
  if finished.is_file():
    summary = json.loads(finished.read_text())
    console.print(f'{folder} is finished; this is its summary.')
    console.print(report.table(summary))
    return summary
  return _train(config, folder, console)


def use_all_cores() -> None:
  """Makes every CPU core a device of jax, before jax is first used."""
  flags = os.environ.get('XLA_FLAGS', '')
  if 'xla_force_host_platform_device_count' not in flags:
    jax.config.update('jax_num_cpu_devices', _num_cores())


def _num_cores():
  """Returns the cores that this process may use, by affinity and by quota."""
  cores = len(os.sched_getaffinity(0))
  try:  # a container's share of the machine, in microseconds of a period
    quota, period = pathlib.Path('/sys/fs/cgroup/cpu.max').read_text().split()
    return max(1, min(cores, int(quota) // int(period)))
  except (OSError, ValueError):  # no such limit, or 'max'
    return cores


def _train(config, folder, console):
  """Trains, tests, draws; returns the summary."""
  setup = assembly.build(config)
  trainer = training.make(config, setup)
  key_init, key_train, key_test, key_validation, key_figures = (
      jax.random.split(jax.random.key(config.seed), 5))
  report.header(console, config, folder)
  state = jax.jit(trainer.init)(key_init)
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  if saved.latest() is not None:
    state = saved.restore(saved.latest(), state)
    console.print(f'Going on from step {int(state.step)}.')
  with futures.ThreadPoolExecutor(1) as pool:
    # The test compiles while training does: both take long, each on one core.
    test = pool.submit(
        evaluation.compile_test, config, setup, state.params, key_test)
    state, timing = _train_loop(config, folder, console, trainer, saved, state,
                                key_train)
    saved.close()
    test = test.result()
  console.print(f'Testing on {config.evaluation.num_tasks} held-out tasks, '
                f'{config.evaluation.num_chips} fresh chips.')
  results, chip = evaluation.run(
      config, setup, state.params, key_test, test)
  summary = _summarize(config, setup, state, results, key_validation)
  summary['baselines'] |= report.measured_elsewhere(config, folder)
  np.savez_compressed(folder / 'evaluation.npz', **results)
  np.savez_compressed(folder / 'chip.npz', **chip)
  console.print('Drawing figures.')
  summary['update_size'] = showcase.draw_all(
      config, setup, folder, summary, results, chip, key_figures)
  summary['training'] = timing | files.environment()
  files.write_json(folder / 'summary.json', summary)
  console.print(report.table(summary))
  console.print(f'Written to {folder}: summary.json, figures, chip.npz, '
                'evaluation.npz, metrics.jsonl, checkpoints.')
  return summary


def _train_loop(config, folder, console, trainer, saved, state, key):
  """Takes the remaining steps; returns the state and what it took."""
  c = config.training
  start = int(state.step)
  log = metrics.Metrics(folder, first_step=start)
  progress = metrics.Progress(console, c.num_steps, start, 'Meta-training')
  began, steady = time.monotonic(), None
  try:
    for step in range(start + 1, c.num_steps + 1):
      state, info = trainer.update(state, key)
      if step % c.log_every == 0 or step in (start + 1, c.num_steps):
        values = training.host(info)
        _check_finite(step, info)
        if steady is None:
          steady, steady_step = time.monotonic(), step
        rate = (step - steady_step) / max(time.monotonic() - steady, 1e-9)
        values['tasks_per_s'] = rate * c.tasks_per_step
        log.write(step, values)
        progress.update(step, f'loss {values["query_loss"]:.3f}  '
                              f'{rate * c.tasks_per_step:.0f} tasks/s')
        if min(values['rate_Hz']) == 0:
          console.print(f'Warning: at step {step} a hidden layer is silent.')
      else:
        progress.update(step)
      if step % c.checkpoint_every == 0 or step == c.num_steps:
        _check_finite(step, info)
        saved.save(step, state)
  finally:
    progress.close()
    log.close()
  wall_s = time.monotonic() - began
  tasks = (c.num_steps - start) * c.tasks_per_step
  return state, {'steps': c.num_steps, 'tasks_per_step': c.tasks_per_step,
                 'wall_s': wall_s, 'tasks_per_s': tasks / wall_s}


def _summarize(config, setup, state, results, key_validation):
  """Returns what a training and a later evaluation both say of a test."""
  summary = {'config': config.name, 'variant': config.variant,
             'task': config.task.name, 'device': config.device,
             'seed': config.seed}
  summary |= evaluation.summarize(config, setup, results)
  summary['baselines'] = evaluation.baselines(
      config, setup, state.params, results, key_validation)
  return summary


def _check_finite(step, info):
  """Raises FloatingPointError where the loss or the gradient is no number."""
  for name in ('loss', 'gradient_norm'):
    if not np.isfinite(info[name]):
      raise FloatingPointError(f'{name} is {info[name]} at step {step}; a '
                               'smaller training.learning_rate may help')


def _evaluate(config, folder, console):
  """Tests a trained run again; returns and writes evaluation.json."""
  if not (folder / 'config.json').is_file():
    raise settings.InputError(f'{folder} holds no run: no config.json there')
  files.check_writable(folder)
  _check_same_network(config, folder)
  setup = assembly.build(config)
  trainer = training.make(config, setup)
  keys = jax.random.split(jax.random.key(config.seed), 5)
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  if saved.latest() is None:
    raise settings.InputError(f'{folder} holds no checkpoint to evaluate')
  state = saved.restore(saved.latest(), jax.jit(trainer.init)(keys[0]))
  console.print(f'Testing {folder} (step {int(state.step)}) on '
                f'{config.evaluation.num_tasks} tasks, '
                f'{config.evaluation.num_chips} fresh chips.')
  results, _ = evaluation.run(config, setup, state.params, keys[2])
  summary = _summarize(config, setup, state, results, keys[3])
  files.write_json(folder / 'evaluation.json', summary)
  console.print(report.table(summary))
  console.print(f'Written to {folder / "evaluation.json"}.')
  return summary


def _open_folder(config, folder):
  """Makes the folder and writes config.json, or checks that it is the same."""
  files.check_writable(folder)
  path = folder / 'config.json'
  now = json.loads(config.to_json_best_effort())
  begun = (folder / 'checkpoints').is_dir() or any(
      (folder / name).is_file() for name in ('metrics.jsonl', 'summary.json'))
  if not begun:
    files.write_json(path, now)
    return
  try:
    differing = sorted(_differences(json.loads(path.read_text()), now))
  except (OSError, ValueError, TypeError):
    raise settings.InputError(
        f'workdir {folder} holds other files and no config.json of a run; '
        'choose another --workdir') from None
  if differing:
    raise settings.InputError(
        f'workdir {folder} holds a run of another config: '
        f'{", ".join(differing)} differ; choose another --workdir')


def _check_same_network(config, folder):
  """Raises InputError where the run's parameters cannot fit this config."""
  try:
    run = json.loads((folder / 'config.json').read_text())
    sizes, task = run['network']['hidden_sizes'], run['task']['name']
  except (OSError, ValueError, KeyError, TypeError):
    raise settings.InputError(
        f'{folder}/config.json is not the config of a run') from None
  if sizes != list(config.network.hidden_sizes) or task != config.task.name:
    raise settings.InputError(
        f'{folder} holds a net with hidden layers {sizes} for {task}: '
        'network.hidden_sizes and task.name cannot be changed')


def _differences(a, b, prefix=''):
  """Yields the dotted names of the fields in which two configs differ."""
  for name in {*a, *b}:
    x, y = a.get(name), b.get(name)
    if isinstance(x, dict) and isinstance(y, dict):
      yield from _differences(x, y, f'{prefix}{name}.')
    elif x != y:
      yield f'{prefix}{name}'
