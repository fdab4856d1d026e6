"""Training of one run, from its config to its summary."""

from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import context as context_lib
from meta_analog.experiment import reproduce
from meta_analog.experiment import results as results_lib
from meta_analog.experiment import run_keys
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.reporting import tables
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import metrics
from meta_analog.training import meta_training
from meta_analog.training import params_file
from meta_analog.training import pretraining
from meta_analog.training import pretraining_checkpoints
from meta_analog.training import training_loop

PRETRAINED = 'pretrained.npz'  # in the folder of a run


def run(context: context_lib.Context) -> dict[str, Any]:
  """Trains, tests and draws, or prints the summary of a finished run.

  Args:
    context: of the command, its folder locked.

  Returns:
    What summary.json holds.

  Raises:
    errors.InputError: if the folder holds another run.
    errors.RunError: if the run ends other than well.
  """
  summary = distributed.from_first(lambda: _finished(context))
  if summary is not None:
    return summary
  return _train(context)


def _finished(context):
  """Claims the folder; prints and returns the summary of a finished run."""
  atomic_files.remove_partial(context.folder)
  atomic_files.remove_partial(context.folder / 'checkpoints')
  workdir_lib.claim(context.config, context.folder, context.log)
  try:
    summary = run_record.result(context.folder, results_lib.SUMMARY)
    if summary is not None:
      tables.table(summary)  # Raises where a field is not there.
      context.log(f'{context.folder} is finished; this is its summary.')
      results_lib.report(summary, context.log)
      return summary
  except (errors.CorruptFileError, KeyError, TypeError, AttributeError):
    context.log(f'Warning: {context.folder / results_lib.SUMMARY} is damaged; '
                'it is computed again from the last checkpoint.')
  return None


def _train(context):
  """Trains, tests, draws; returns the summary."""
  config, folder = context.config, context.folder
  setup = build.build(config)
  trainer = meta_training.make(config, setup)
  keys = run_keys.make(config.seed)
  tables.header(context.console, build.describe(config), folder)
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  began = begin(context, saved, jax.jit(trainer.init)(keys.init))
  if jax.process_count() == 1:  # Pretraining takes one.
    if not saved.steps():
      began = _pretrain(context, setup, saved, began)
    workdir_lib.forget_pretraining(folder)
  pool, tests = futures.ThreadPoolExecutor(1), []

  def compile_test():
    tests.append(pool.submit(meta_testing.compile_test, config, setup,
                             began.state.params, keys.test))

  try:
    # The test compiles while training does: both take long, each on one core.
    trainer = trainer._replace(update=training_loop.compiled_update(
        trainer, compile_test, context.log))
    state, wall_s = train_loop(context, trainer, saved, began, keys.train)
    test = tests[0].result() if tests else None
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
  context.log(f'Testing on {config.evaluation.num_tasks} held-out tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  results, chip = meta_testing.run(config, setup, state.params, keys.test, test)
  return distributed.from_first(lambda: _report(
      context, setup, distributed.local(state), results, chip, keys, wall_s))


def _report(context, setup, state, results, chip, keys, wall_s):
  """Writes and draws the results; returns the summary."""
  config, folder = context.config, context.folder
  compiled = results_lib.make(config, setup)
  summary = results_lib.summarize(
      config, setup, state, results, keys.validation, compiled)
  context.log('Drawing figures.')
  results_lib.finish(
      config, setup, folder, summary, state.params, (results, chip),
      keys.figures, {'wall_s': wall_s} | context.record, compiled, context.log)
  results_lib.report(summary, context.log)
  context.log(f'Written to {folder}: {workdir_lib.contents(folder)}.')
  return summary


def _pretrain(context, setup, saved, began):
  """Returns what meta-training begins from, with the hidden layers asked for.

  Where pretraining took its time, they are kept as step 0 and as PRETRAINED.
  """
  config, folder, params = context.config, context.folder, began.state.params
  partial = pretraining_checkpoints.PretrainingCheckpoints(
      folder / workdir_lib.PRETRAINING,
      {'config': workdir_lib.as_json(config), 'environment': context.record},
      context.log, context.stop)
  found = pretraining.hidden_layers(
      config, setup, params, partial, context.log, context.stop)
  if found is not params:
    began = began._replace(state=jax.device_put(
        began.state._replace(params=found), sharding.replicated()))
  if not config.training.get('pretrain_steps', 0):
    return began
  params_file.save(folder / PRETRAINED, distributed.local(found))
  facts = partial.facts()
  saved.save(0, began.state, b'', facts)
  context.stop.advice = 'pretraining is saved; the same command resumes from it'
  workdir_lib.forget_pretraining(folder)
  return began._replace(facts=facts)


def begin(
    context: context_lib.Context, saved: checkpoints.Checkpoints,
    state: meta_training.TrainState
) -> checkpoints.Restored:
  """Returns what to resume from, and logs and records so.

  Args:
    context: whose folder was claimed.
    saved: its checkpoints.
    state: of a training that begins.
  """
  found = [checkpoints.Restored(state, b'', {'wall_s': 0.0})]
  distributed.from_first(lambda: found.append(
      _restore(context, saved, distributed.local(state))))
  return found[-1]._replace(state=distributed.broadcast(found[-1].state))


def _restore(context, saved, state):
  """Returns the newest checkpoint, or the state at the start."""
  restored = saved.newest(state, context.log, set_aside=True)
  if restored is None:
    restored = checkpoints.Restored(state, b'', {'wall_s': 0.0})
  else:
    step = int(restored.state.step)
    context.log(f'Resuming from step {step}.')
    context.stop.advice = f'the same command resumes from step {step}'
    environment.warn_of_changes(
        restored.facts['environment'], context.record, context.log)
  run_record.begin(context.folder,
                   {'from_step': int(restored.state.step)} | context.record)
  return restored


def train_loop(
    context: context_lib.Context, trainer: meta_training.Trainer,
    saved: checkpoints.Checkpoints, began: checkpoints.Restored, key: jax.Array,
    names: tuple[str, ...] = ('',), bad: Callable[..., None] | None = None
) -> tuple[meta_training.TrainState, float]:
  """Takes the remaining steps; returns the state and the seconds of all.

  Args:
    context: whose folder was claimed.
    trainer: of its config, or of several runs together.
    saved: the checkpoints to write.
    began: of `begin`.
    key: of the training; [R] of several runs.
    names: of the runs that are trained together.
    bad: see `training_loop.Hooks`; None saves a reproducer.
  """
  config = workdir_lib.as_json(context.config)
  start = int(began.state.step)
  log = metrics.NoMetrics()
  if distributed.is_first():
    board = context.wandb and metrics.open_wandb(
        context.wandb, context.folder, config)
    log = metrics.Metrics(context.folder, began.metrics, start, board)
  num_steps = context.config.training.num_steps
  progress = metrics.Progress(
      context.console, num_steps, start, 'Meta-training')

  def save(step, state, wall_s):
    distributed.from_first(lambda: saved.save(
        step, distributed.local(state), log.content(), {
            'config': config, 'wall_s': wall_s, 'environment': context.record}))
    context.stop.advice = (f'step {step} is saved in {context.folder}; the '
                           'same command resumes from there')

  bad = bad or (lambda step, before, info: distributed.from_first(
      lambda: reproduce.save(context.folder, trainer, key, step,
                             distributed.local(before), info, config)))
  try:
    return training_loop.run(
        context.config, trainer, began.state, key,
        training_loop.Hooks(log, progress, context.log, save, bad, context.stop,
                            names), began.facts['wall_s'])
  finally:
    progress.close()
    log.close()
