"""One run from a config to a summary: train, test, draw, report."""

from concurrent import futures
import pathlib
import time
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import rich.console

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import environment
from meta_analog import evaluation
from meta_analog import faults
from meta_analog import files
from meta_analog import follower
from meta_analog import history
from meta_analog import hosts
from meta_analog import interrupts
from meta_analog import loop
from meta_analog import metrics
from meta_analog import modes
from meta_analog import parameters
from meta_analog import pretraining
from meta_analog import pretraining_files
from meta_analog import replay
from meta_analog import report
from meta_analog import settings
from meta_analog import sweep_run
from meta_analog import sweep_settings
from meta_analog import training
from meta_analog import workdir as workdir_lib
from meta_analog import write_up

MODES = ('train', 'evaluate', 'energy', 'replay')


class Run(NamedTuple):
  """What one command works with."""

  config: ml_collections.ConfigDict
  folder: pathlib.Path
  console: rich.console.Console
  stop: interrupts.Interrupts
  record: dict[str, Any]  # of the environment and what was asked
  wandb: str | None  # project

  def say(self, text: Any) -> None:
    """Prints a line or a table."""
    self.console.print(text)


def run(
    config: ml_collections.ConfigDict, workdir: str, mode: str = 'train', *,
    overrides: dict[str, str] | None = None, wandb: str | None = None,
    stop: interrupts.Interrupts | None = None
) -> dict[str, Any]:
  """Runs one config in one folder and returns its summary.

  Args:
    config: see `settings.check`.
    workdir: folder of the run; made where it is not there.
    mode: 'train' trains, tests and draws, or goes on where a run of the same
      config stopped, or prints the summary of a finished one. 'evaluate' tests
      a trained run again and writes evaluation.json. 'energy' compares ways to
      write its adaptation and writes energy.json. 'replay' takes the step
      again that was not finite.
    overrides: the config's file and what was changed in it, for the record.
    wandb: project of Weights & Biases to write to; None never imports it.
    stop: signals to heed; None heeds none.

  Returns:
    What summary.json, or evaluation.json, or `replay.run` holds.

  Raises:
    settings.InputError: if the config, the folder or the mode cannot be.
    faults.Fault: if the run ends other than well.
  """
  if mode not in MODES:
    raise settings.InputError(f'mode = {mode!r}: must be one of {MODES}')
  settings.check(config)
  swept = sweep_settings.members(config)
  if swept and jax.process_count() > 1:
    raise settings.InputError(
        'sweep: takes one process; start one for each member instead, by the '
        'fields that it sets')
  for field, none in (('pretrain_steps', 0), ('begin_with', '')):
    value = config.training.get(field, none)
    if jax.process_count() > 1 and value != none:
      raise settings.InputError(
          f'config.training.{field} = {value!r}: must be {none!r} where there '
          'are several processes')
  if not hosts.is_first():
    follower.run(config, mode)
  folder = pathlib.Path(workdir)
  task = {'train': _train_or_report, 'evaluate': modes.evaluate,
          'energy': modes.energy, 'replay': modes.take_again}
  if swept and mode in ('energy', 'replay'):
    raise settings.InputError(
        f'--mode={mode} takes one run: name the folder of a member of this '
        f'sweep, such as --workdir {sweep_run.folder_of(folder, swept[0])}')
  if mode != 'train' and not (folder / workdir_lib.CONFIG).is_file():
    raise settings.InputError(f'{folder} holds no run: no config.json there')
  try:
    with workdir_lib.locked(folder):
      return task[mode](Run(
          config, folder,
          rich.console.Console(highlight=False, soft_wrap=True),
          stop or interrupts.Interrupts(),
          environment.record() | {'seed': config.seed, 'mode': mode,
                                  'overrides': overrides or {}}, wandb))
  except faults.DamageError:
    raise
  except (OSError, faults.MachineFault) as error:
    name = getattr(error, 'filename', None)
    where = f'{name}: ' if name else ''
    what = faults.reason(error) if isinstance(error, OSError) else str(error)
    raise faults.MachineFault(
        f'{where}{what}; {workdir_lib.how_to_go_on(folder)}') from error


def _train_or_report(run):
  """Trains, tests and draws, or prints the summary of a finished run."""
  files.sweep(run.folder)
  files.sweep(run.folder / 'checkpoints')
  workdir_lib.claim(run.config, run.folder, run.say)
  try:
    summary = history.result(run.folder, write_up.SUMMARY)
    if summary is not None:
      table = report.table(summary)
      run.say(f'{run.folder} is finished; this is its summary.')
      run.say(table)
      return summary
  except (faults.DamageError, KeyError, TypeError, AttributeError):
    run.say(f'Warning: {run.folder / write_up.SUMMARY} is damaged; it is '
            'computed again from the last checkpoint.')
  if sweep_settings.members(run.config):
    return sweep_run.train(run, sweep_run.Steps(_begin, _train_loop))
  return _train(run)


def _train(run):
  """Trains, tests, draws; returns the summary."""
  config, folder = run.config, run.folder
  setup = assembly.build(config)
  trainer = training.make(config, setup)
  key_init, key_train, key_test, key_validation, key_figures = (
      jax.random.split(jax.random.key(config.seed), 5))
  report.header(run.console, config, folder)
  saved = checkpoints.Checkpoints(folder / 'checkpoints')
  began = _begin(run, saved, jax.jit(trainer.init)(key_init))
  if not saved.steps():
    began = pretraining.begin(run, setup, saved, began)
  pretraining_files.forget(folder)
  pool, tests = futures.ThreadPoolExecutor(1), []

  def compile_test():
    tests.append(pool.submit(evaluation.compile_test, config, setup,
                             began.state.params, key_test, keep=True))

  try:
    # The test compiles while training does: both take long, each on one core.
    trainer = trainer._replace(update=_compiled(
        config, trainer, compile_test, run.say))
    state, wall_s = _train_loop(run, trainer, saved, began, key_train)
    test = tests[0].result() if tests else None
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
  run.say(f'Testing on {config.evaluation.num_tasks} held-out tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  results, chip = evaluation.run(config, setup, state.params, key_test, test)
  state = hosts.local(state)  # From here on process 0 works alone.
  compiled = write_up.make(config, setup)
  summary = write_up.summarize(
      config, setup, state, results, key_validation, compiled)
  summary['baselines'] |= report.measured_elsewhere(config, folder)
  run.say('Drawing figures.')
  write_up.finish(config, setup, folder, summary, (results, chip), key_figures,
                  {'wall_s': wall_s} | run.record, compiled)
  parameters.save(folder / parameters.FILE, hosts.local(state.params))
  modes.close(run, summary)
  run.say(f'Written to {folder}: summary.json, figures, chip.npz, '
          'evaluation.npz, metrics.jsonl, checkpoints.')
  return summary


def _compiled(config, trainer, traced, say):
  """Returns the update, which at its first call says how long it compiled.

  `traced` is called once the part is done that only one thread can do at a
  time.
  """
  found, fixed = [], trainer.update.keywords

  def step(state, key):
    if not found:
      began = time.monotonic()
      lowered = training.lower(config, trainer, state, key)
      traced()
      found.append(lowered.compile())
      say(f'The step is compiled, in {time.monotonic() - began:.1f} s.')
    return found[0](state, key, **fixed)

  return step


def _begin(run, saved, state):
  """Returns what to go on from, and says and records so."""
  restored = saved.newest(hosts.local(state), run.say, set_aside=True)
  if restored is None:
    restored = checkpoints.Restored(state, b'', {'wall_s': 0.0})
  else:
    step = int(restored.state.step)
    run.say(f'Going on from step {step}.')
    run.stop.advice = f'the same command goes on from step {step}'
    environment.warn_of_changes(
        restored.facts['environment'], run.record, run.say)
  history.begin(run.folder,
                {'from_step': int(restored.state.step)} | run.record)
  return restored._replace(state=hosts.shared(restored.state))


def _train_loop(run, trainer, saved, began, key, members=('',), bad=None):
  """Takes the remaining steps; returns the state and the seconds of all."""
  config = workdir_lib.as_json(run.config)
  start = int(began.state.step)
  board = run.wandb and metrics.open_wandb(run.wandb, run.folder, config)
  log = metrics.Metrics(run.folder, began.metrics, start, board)
  num_steps = run.config.training.num_steps
  progress = metrics.Progress(run.console, num_steps, start, 'Meta-training')

  def save(step, state, wall_s):
    saved.save(step, hosts.local(state), log.content(), {
        'config': config, 'wall_s': wall_s, 'environment': run.record})
    run.stop.advice = (f'step {step} is saved in {run.folder}; the same '
                       'command goes on from there')

  bad = bad or (lambda step, before, info: replay.save(
      run.folder, trainer, key, step, hosts.local(before), info, config))
  try:
    return loop.run(
        run.config, trainer, began.state, key,
        loop.Hooks(log, progress, run.say, save, bad, run.stop, members),
        began.facts['wall_s'])
  finally:
    progress.close()
    log.close()
