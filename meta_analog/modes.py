"""What is done with a run that was trained, or was stopped by its numbers.

`run` is an `experiment.Run`: config, folder, console, record.
"""

import jax

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import energy_cases
from meta_analog import evaluation
from meta_analog import faults
from meta_analog import figures
from meta_analog import files
from meta_analog import history
from meta_analog import hosts
from meta_analog import replay
from meta_analog import report
from meta_analog import settings
from meta_analog import showcase
from meta_analog import sweep_run
from meta_analog import sweep_settings
from meta_analog import training
from meta_analog import workdir as workdir_lib
from meta_analog import write_up


def evaluate(run):
  """Tests a trained run again; returns and writes evaluation.json."""
  config, folder = run.config, run.folder
  unchanged = workdir_lib.check_of_run(config, folder)
  if sweep_settings.members(config):
    return sweep_run.evaluate(run)
  setup, state, keys = _restore(run)
  run.say(f'Testing {folder} (step {int(state.step)}) on '
          f'{config.evaluation.num_tasks} tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  results, chip = evaluation.run(
      config, setup, state.params, keys[2], keep=True)
  state = hosts.local(state)
  compiled = write_up.make(config, setup)
  summary = write_up.summarize(
      config, setup, state, results, keys[3], compiled)
  if unchanged:  # What others reached under other conditions says nothing.
    summary['baselines'] |= rows_of_others(config, folder)
  summary['update_size'] = showcase.update_size(
      *showcase.updates(chip, keys[4], compiled.ordinary_fn))
  summary['training'] = {'steps': int(state.step)} | run.record
  files.write_json(folder / 'evaluation.json', summary)
  close(run, summary)
  run.say(f'Written to {folder / "evaluation.json"}.')
  return summary


def rows_of_others(config, folder):
  """Returns the rows that compare variants as the run's summary has them."""
  try:
    summary = history.result(folder, write_up.SUMMARY)
    if summary is not None:
      return {name: row for name, row in summary['baselines'].items()
              if 'source' in row}
  except (faults.DamageError, KeyError, TypeError, AttributeError):
    pass  # no summary that can be read
  return report.measured_elsewhere(config, folder)


def energy(run):
  """Compares ways to write an adaptation; returns and writes energy.json."""
  config, folder = run.config, run.folder
  workdir_lib.check_of_run(config, folder)
  setup, state, keys = _restore(run)
  run.say(f'Testing {folder} (step {int(state.step)}) in '
          f'{len(energy_cases.cases(config))} ways to write, on '
          f'{config.evaluation.num_tasks} tasks each.')
  rows = energy_cases.run(config, state.params, keys[2], run.say)
  out = {'metric': setup.task.metric, 'cases': rows,
         'training': {'steps': int(state.step)} | run.record}
  files.write_json(folder / 'energy.json', out)
  figures.energy(folder / 'figures' / 'energy.png', rows,
                 setup.task.metric)
  run.say(report.energy_table(out))
  run.say(f'Written to {folder}: energy.json, figures/energy.png.')
  return out


def _restore(run):
  """Returns what a run's config names, its newest state and its keys."""
  setup = assembly.build(run.config)
  trainer = training.make(run.config, setup)
  keys = jax.random.split(jax.random.key(run.config.seed), 5)
  run.stop.advice = 'the same command tests again'
  restored = checkpoints.Checkpoints(run.folder / 'checkpoints').newest(
      hosts.local(jax.jit(trainer.init)(keys[0])), run.say)
  if restored is None:
    raise settings.InputError(f'{run.folder} holds no checkpoint to evaluate')
  return setup, hosts.shared(restored.state), keys


def close(run, summary):
  """Prints the table, and says aloud what makes it worthless."""
  run.say(report.table(summary))
  for i, rate_Hz in enumerate(summary['firing_rate_hz']):
    if rate_Hz == 0:
      run.say(f'Warning: hidden layer {i + 1} is dead: not one spike in the '
              'test.')


def take_again(run):
  """Takes the step again that was not finite; returns where it is not."""
  if jax.process_count() > 1:
    raise settings.InputError('--mode=replay runs in one process')
  if not workdir_lib.check_of_run(run.config, run.folder):
    raise settings.InputError('--mode=replay takes no overrides')
  trainer = training.make(run.config, assembly.build(run.config))
  run.stop.advice = 'the same command replays again'
  return replay.run(run.folder, run.config, trainer, run.say)
