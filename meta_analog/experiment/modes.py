"""What is done with a run that was trained, or was stopped by its numbers.

`run` is an `run.Run`: config, folder, console, record.
"""

import jax

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.evaluation import energy_comparison
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import figure_data
from meta_analog.experiment import reproduce
from meta_analog.experiment import results as results_lib
from meta_analog.experiment import run_keys
from meta_analog.experiment import workdir
from meta_analog.reporting import run_figures
from meta_analog.reporting import tables
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import distributed
from meta_analog.training import meta_training


def evaluate(run):
  """Tests a trained run again; returns and writes evaluation.json."""
  config, folder = run.config, run.folder
  distributed.from_first(lambda: workdir.check_of_run(config, folder))
  setup, state, keys = _restore(run)
  run.say(f'Testing {folder} (step {int(state.step)}) on '
          f'{config.evaluation.num_tasks} tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  tested = meta_testing.run(config, setup, state.params, keys.test)
  return distributed.from_first(lambda: _report(
      run, setup, distributed.local(state), tested, keys))


def _report(run, setup, state, tested, keys):
  """Writes and prints what was tested; returns it."""
  config, folder, (results, chip) = run.config, run.folder, tested
  compiled = results_lib.make(config, setup)
  summary = results_lib.summarize(
      config, setup, state, results, keys.validation, compiled)
  summary['update_size'] = figure_data.update_size(
      *figure_data.updates(chip, keys.figures, compiled.ordinary_fn))
  summary['training'] = {'steps': int(state.step)} | run.record
  atomic_files.write_json(folder / 'evaluation.json', summary)
  close(run, summary)
  run.say(f'Written to {folder / "evaluation.json"}.')
  return summary


def energy(run):
  """Compares ways to write an adaptation; returns and writes energy.json."""
  config, folder = run.config, run.folder
  distributed.from_first(lambda: workdir.check_of_run(config, folder))
  setup, state, keys = _restore(run)
  run.say(f'Testing {folder} (step {int(state.step)}) in '
          f'{len(energy_comparison.cases(config))} ways to write, on '
          f'{config.evaluation.num_tasks} tasks each.')
  rows = energy_comparison.run(config, state.params, keys.test, run.say)
  out = {'metric': setup.task.metric, 'cases': rows,
         'training': {'steps': int(state.step)} | run.record}
  distributed.from_first(lambda: _report_energy(run, out))
  return out


def _report_energy(run, out):
  """Writes, draws and prints a comparison of ways to write."""
  folder = run.folder
  atomic_files.write_json(folder / 'energy.json', out)
  run_figures.energy(
      folder / 'figures' / 'energy.png', out['cases'], out['metric'])
  run.say(tables.energy_table(out))
  run.say(f'Written to {folder}: energy.json, figures/energy.png.')


def _restore(run):
  """Returns what a run's config names, its newest state and its keys."""
  setup = build.build(run.config)
  trainer = meta_training.make(run.config, setup)
  keys = run_keys.make(run.config.seed)
  run.stop.advice = 'the same command tests again'
  state = jax.jit(trainer.init)(keys.init)
  found = [state]
  distributed.from_first(lambda: found.append(
      _newest(run, distributed.local(state))))
  return setup, distributed.broadcast(found[-1]), keys


def _newest(run, state):
  """Returns the state of the newest checkpoint; another gives its shapes."""
  restored = checkpoints.Checkpoints(run.folder / 'checkpoints').newest(
      state, run.say)
  if restored is None:
    raise errors.InputError(f'{run.folder} holds no checkpoint to evaluate')
  return restored.state


def close(run, summary):
  """Prints the table, and says aloud what makes it worthless."""
  run.say(tables.table(summary))
  for i, rate_Hz in enumerate(summary['firing_rate_hz']):
    if rate_Hz == 0:
      run.say(f'Warning: hidden layer {i + 1} is dead: not one spike in the '
              'test.')


def take_again(run):
  """Takes the step again that was not finite; returns where it is not."""
  if jax.process_count() > 1:
    raise errors.InputError('--mode=replay runs in one process')
  if not workdir.check_of_run(run.config, run.folder):
    raise errors.InputError('--mode=replay takes no overrides')
  trainer = meta_training.make(run.config, build.build(run.config))
  run.stop.advice = 'the same command replays again'
  return reproduce.run(run.folder, run.config, trainer, run.say)
