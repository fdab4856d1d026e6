"""Vmapped execution of a study's row: all its seeds in one training step.

    python -m meta_analog.studies.vmap_executor --config configs/pcm.py \\
        --seeds 0,1,2 --workdir FOLDER --runs RUNS

FOLDER holds what is of all seeds: the checkpoints, and metrics.jsonl with a
list over the seeds as each value. RUNS/seed=<k>/ is left as the separate run of
seed k would have left it, so that whatever reads a run reads it too.
"""

from concurrent import futures
import contextlib
import pathlib
import sys
from typing import NamedTuple

from absl import flags
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import command_line
from meta_analog.experiment import context as context_lib
from meta_analog.experiment import reproduce
from meta_analog.experiment import results
from meta_analog.experiment import run_keys
from meta_analog.experiment import run_record
from meta_analog.experiment import train
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.reporting import tables
from meta_analog.reporting import terminal
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import compilation
from meta_analog.runtime import environment
from meta_analog.runtime import metrics
from meta_analog.runtime import signals
from meta_analog.studies import plan
from meta_analog.training import ensemble
from meta_analog.training import meta_training

METRICS = 'metrics.jsonl'
UNTRAINED = {'pretrain_steps': 0, 'begin_with': ''}  # of config.training


class _Seed(NamedTuple):
  """One seed, with the separate run that it stands for."""

  config: ml_collections.ConfigDict
  keys: run_keys.RunKeys  # of that run
  folder: pathlib.Path

  @property
  def name(self) -> str:
    """Of its folder: 'seed=1'."""
    return self.folder.name


class _Test(NamedTuple):
  """Setup and programs shared by the tests of all seeds."""

  setup: build.Setup
  test: futures.Future
  compiled: results.Compiled


def run(
    config: ml_collections.ConfigDict, seeds: tuple[int, ...], workdir: str,
    runs: str, *, overrides: dict[str, str] | None = None,
    stop: signals.StopRequest | None = None
) -> None:
  """Trains and tests several seeds of one config.

  Args:
    config: of a run; its seed is not used.
    seeds: that differ, at least one.
    workdir: folder of what is of all seeds; made where it is not there.
    runs: folder of the runs' folders. A finished run there is left as it is.
    overrides: the config's file and what was changed in it, for the record.
    stop: signals to heed; None heeds none.

  Raises:
    InputError: if the config, the seeds or a folder cannot be.
    RunError: if the training ends other than well.
  """
  validation.check(config)
  check(config)
  folder = pathlib.Path(workdir)
  each = _seeds(config, seeds, pathlib.Path(runs))
  with contextlib.ExitStack() as stack:
    for place in (folder, *(seed.folder for seed in each)):
      stack.enter_context(workdir_lib.locked(place))
      atomic_files.remove_partial(place)
    atomic_files.remove_partial(folder / 'checkpoints')
    console = terminal.console()
    together = context_lib.Context(
        each[0].config, folder, console, stop or signals.StopRequest(),
        environment.record() | {'seeds': list(seeds), 'mode': 'train',
                                'overrides': overrides or {}}, None)
    workdir_lib.claim(together.config, folder, together.log)
    _train(together, each)


def check(config: ml_collections.ConfigDict) -> None:
  """Raises InputError where a config's seeds cannot share one step.

  Args:
    config: checked.
  """
  for name, none in UNTRAINED.items():
    value = config.training.get(name, none)
    if value != none:
      raise errors.InputError(
          f'config.training.{name} = {value!r}: must be {none!r} with --vmap, '
          'where all seeds begin untrained')


def _seeds(config, seeds, runs):
  """Returns the seeds, each with the run that it stands for."""
  found = []
  for seed in seeds:
    own = ml_collections.ConfigDict(config.to_dict())
    own.seed = seed
    found.append(_Seed(
        own.lock(), run_keys.make(seed), runs / f'seed={seed}'))
  return found


def _keys(each, name):
  """Returns the key of this name of every seed, [R]."""
  return jnp.stack([getattr(seed.keys, name) for seed in each])


def _train(together, each):
  """Trains all seeds; tests those that are not finished."""
  config, log = together.config, together.log
  setup, trainer = build.build(config), ensemble.make(config, len(each))
  tables.header(
      together.console, build.describe(config), together.folder)
  log(f'In one step: {" ".join(seed.name for seed in each)}')
  saved = checkpoints.Checkpoints(together.folder / 'checkpoints')
  began = train.begin(together, saved, trainer.init(_keys(each, 'init')))
  pool = futures.ThreadPoolExecutor(1)
  try:  # As for a single run: the test compiles meanwhile.
    test = pool.submit(
        meta_testing.compile_test, config, setup,
        ensemble.state_of(began.state, 0).params, each[0].keys.test)
    state, wall_s = train.train_loop(
        together, trainer, saved, began, _keys(each, 'train'),
        tuple(seed.name for seed in each),
        lambda step, before, info: _not_finite(each, step, before, info))
    shared = _Test(setup, test, results.make(config, setup))
    for i, seed in enumerate(each):
      if run_record.result(seed.folder, results.SUMMARY) is None:
        _finish(together, i, seed, ensemble.state_of(state, i), shared, wall_s)
  finally:
    pool.shutdown(wait=False, cancel_futures=True)


def _finish(together, i, seed, state, shared, wall_s):
  """Tests seed i and leaves all that its separate run would have left."""
  config, folder, log = seed.config, seed.folder, together.log
  setup, test, compiled = shared
  log(f'Testing {seed.name} on {config.evaluation.num_tasks} held-out tasks, '
      f'{config.evaluation.num_chips} fresh chips.')
  arrays = meta_testing.run(
      config, setup, state.params, seed.keys.test, test.result())
  summary = results.summarize(
      config, setup, state, arrays[0], seed.keys.validation, compiled)
  record = together.record | {'seed': config.seed}
  as_json = workdir_lib.as_json(config)
  atomic_files.write_json(folder / workdir_lib.CONFIG, as_json)
  lines = _log(together.folder / METRICS, i, folder)
  checkpoints.Checkpoints(folder / 'checkpoints').save(
      int(state.step), state, lines, {
          'config': as_json, 'wall_s': wall_s, 'environment': record})
  run_record.begin(folder, {'from_step': 0} | record)
  results.finish(
      config, setup, folder, summary, state.params, arrays, seed.keys.figures,
      {'wall_s': wall_s} | record, compiled, log)
  results.report(summary, together.log)
  log(f'Written to {folder}.')


def _log(path, i, folder):
  """Writes the metrics of seed i as its separate run has them; returns them."""
  log = metrics.Metrics(folder)
  try:
    for line in metrics.read(path):
      log.write(line.pop('step'), {
          name: value if name == metrics.TIMING else value[i]
          for name, value in line.items()})
    return log.content()
  finally:
    log.close()


def _not_finite(each, step, before, info):
  """Saves what the first seed that is not finite was taken from; raises.

  It lies in the folder of its run, where --mode=reproduce finds it.
  """
  finite = np.asarray(info['finite']).all(axis=1)
  i = int(np.flatnonzero(~finite)[0])
  config, folder = each[i].config, each[i].folder
  as_json = workdir_lib.as_json(config)
  with contextlib.suppress(OSError):  # `reproduce.save` says what fails
    atomic_files.write_json(folder / workdir_lib.CONFIG, as_json)
  trainer = meta_training.make(config, build.build(config))
  try:
    reproduce.save(folder, trainer, each[i].keys.train, step,
                   ensemble.state_of(before, i),
                   {name: value[i] for name, value in info.items()}, as_json)
  except errors.NonFiniteError as error:
    raise errors.NonFiniteError(f'{each[i].name}, {error}') from None


def main(arguments: command_line.Arguments) -> None:
  """Flags in, run folders out."""
  values = arguments.flags
  compilation.set_up(values.cache_dir, print)
  environment.check_devices()
  run(arguments.config, plan.seeds_of(values.seeds), values.workdir,
      values.runs, overrides=arguments.record, stop=command_line.STOP)


def define() -> flags.FlagValues:
  """Returns the flags of this command, defined."""
  values = flags.FlagValues()
  command_line.define(values)
  flags.DEFINE_list('seeds', None, 'Seeds that are trained together',
                    flag_values=values)
  flags.DEFINE_string('runs', None, 'Folder of the folders of the runs',
                      flag_values=values)
  flags.mark_flags_as_required(('seeds', 'workdir', 'runs'), values)
  return values


if __name__ == '__main__':
  compilation.tune()  # before a config file may use jax
  environment.use_all_cores()
  command_line.start(sys.argv[1:], define(), main)
