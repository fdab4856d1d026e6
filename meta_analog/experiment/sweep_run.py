"""A sweep from its config to its files: train, test and report every member.

What is of the sweep stands in its folder: checkpoints of all members at once,
metrics.jsonl (each value a list over the members), summary.json, the figure.
`members/<name>/` is a folder of the separate run, as that run would have left
it, so that whatever reads or tests a run does so with a member.
"""

from collections.abc import Callable
from concurrent import futures
import contextlib
import json
import pathlib
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.config import sweep_settings
from meta_analog.core import errors
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import reproduce
from meta_analog.experiment import results
from meta_analog.experiment import run_keys
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.reporting import run_figures
from meta_analog.reporting import tables
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import metrics
from meta_analog.training import ensemble
from meta_analog.training import meta_training

METRICS = 'metrics.jsonl'
# What the summaries of all members share.
COMMON = ('config', 'variant', 'task', 'device', 'metric', 'num_tasks',
          'num_chips', 'support_size')


class Steps(NamedTuple):
  """What a sweep does as a single run does it, see `experiment`."""

  begin: Callable[..., checkpoints.Restored]
  train_loop: Callable[..., tuple[meta_training.TrainState, float]]


class _Member(NamedTuple):
  """A member, with the run that it stands for."""

  about: sweep_settings.Member
  config: ml_collections.ConfigDict
  keys: run_keys.RunKeys  # of the single run
  folder: pathlib.Path


def folder_of(
    folder: pathlib.Path, member: sweep_settings.Member
) -> pathlib.Path:
  """Returns the folder of a member of the sweep in `folder`."""
  return folder / 'members' / member.name


def train(run: Any, steps: Steps) -> dict[str, Any]:
  """Trains, tests and draws all members; returns the sweep's summary.

  Args:
    run: `run.Run` of a sweep, its folder claimed.
    steps: see `Steps`.

  Returns:
    What summary.json holds: COMMON, 'sweep' (the axes), 'members' (for each its
    'name', what was 'set', and the fields of a single run's summary) and
    'training'.

  Raises:
    faults.Fault: if the run ends other than well.
  """
  config, members = run.config, _members(run)
  names = tuple(member.about.name for member in members)
  setup, trainer = build.build(config), ensemble.make(config)
  tables.header(run.console, config, run.folder)
  run.say(f'A sweep of {len(members)}: {" ".join(names)}')
  saved = checkpoints.Checkpoints(run.folder / 'checkpoints')
  began = steps.begin(run, saved, trainer.init(_keys(members, 'init')))
  pool = futures.ThreadPoolExecutor(1)
  try:  # As for a single run: the test compiles meanwhile.
    test = pool.submit(
        meta_testing.compile_test, config, setup,
        ensemble.member_state(began.state, 0).params, members[0].keys.test)
    state, wall_s = steps.train_loop(
        run, trainer, saved, began, _keys(members, 'train'), names,
        lambda step, before, info: _not_finite(members, step, before, info))
    test = test.result()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
  compiled = results.make(config, setup)
  rows = [_finish(run, member, ensemble.member_state(state, i), test, compiled,
                  wall_s) for i, member in enumerate(members)]
  c = config.training
  tasks = len(members) * c.num_steps * c.tasks_per_step
  summary = _summary(config, rows) | {'training': {
      'steps': c.num_steps, 'tasks_per_step': c.tasks_per_step,
      'members_at_once': ensemble.members_at_once(config), 'wall_s': wall_s,
      'tasks_per_s': tasks / max(wall_s, 1e-9)} | run.record}
  run_figures.sweep(run.folder / 'figures' / 'sweep.png', summary['members'],
                    summary['metric'])
  atomic_files.write_json(run.folder / results.SUMMARY, summary)
  run_record.finish(run.folder, results.SUMMARY)
  _close(run, summary)
  run.say(f'Written to {run.folder}: summary.json, figures/sweep.png, '
          'metrics.jsonl, checkpoints, and members/ with all of each.')
  return summary


def evaluate(run: Any) -> dict[str, Any]:
  """Tests a trained sweep again; returns and writes evaluation.json.

  Args:
    run: `run.Run`, its config checked against that of the folder.

  Returns:
    As `train`.

  Raises:
    settings.InputError: if there is no checkpoint.
  """
  config, members = run.config, _members(run)
  run.stop.advice = 'the same command tests again'
  restored = checkpoints.Checkpoints(run.folder / 'checkpoints').newest(
      ensemble.make(config).init(_keys(members, 'init')), run.say)
  if restored is None:
    raise errors.InputError(f'{run.folder} holds no checkpoint to evaluate')
  states = [ensemble.member_state(restored.state, i)
            for i in range(len(members))]
  setup = build.build(config)
  test = meta_testing.compile_test(
      config, setup, states[0].params, members[0].keys.test)
  compiled = results.make(config, setup)
  rows = [(member, _test(run, member, state, test, compiled)[2])
          for member, state in zip(members, states)]
  summary = _summary(config, rows) | {'training': {
      'steps': int(restored.state.step)} | run.record}
  atomic_files.write_json(run.folder / 'evaluation.json', summary)
  _close(run, summary)
  run.say(f'Written to {run.folder / "evaluation.json"}.')
  return summary


def _members(run):
  """Returns the members, each with the run that it stands for."""
  found = []
  for about in sweep_settings.members(run.config):
    config = sweep_settings.config_of(run.config, about)
    found.append(_Member(
        about, config, run_keys.make(config.seed),
        folder_of(run.folder, about)))
  return found


def _keys(members, name):
  """Returns the key of this name of every member, [M]."""
  return jnp.stack([getattr(member.keys, name) for member in members])


def _test(run, member, state, test, compiled):
  """Tests a member; returns its setup, its arrays and its summary."""
  config = member.config
  run.say(f'Testing {member.about.name} (step {int(state.step)}) on '
          f'{config.evaluation.num_tasks} held-out tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  setup = build.build(config)
  arrays = meta_testing.run(
      config, setup, state.params, member.keys.test, test)
  return setup, arrays, results.summarize(
      config, setup, state, arrays[0], member.keys.validation, compiled)


def _finish(run, member, state, test, compiled, wall_s):
  """Leaves the folder of a member's own run; returns it and its summary."""
  folder = member.folder
  setup, arrays, summary = _test(run, member, state, test, compiled)
  with workdir.locked(folder):
    _write_member(run, member, state, setup, arrays, summary, compiled, wall_s)
  return member, summary


def _write_member(
    run, member, state, setup, arrays, summary, compiled, wall_s):
  """Writes all that the run of a member would have left."""
  config, folder = member.config, member.folder
  atomic_files.sweep(folder)
  record = run.record | {'seed': config.seed, 'sweep': str(run.folder)}
  as_json = workdir.as_json(config)
  lines = _lines_of(run.folder / METRICS, _index(run, member))
  atomic_files.write_json(folder / workdir.CONFIG, as_json)
  with atomic_files.replacing(folder / METRICS) as partial:
    partial.write_bytes(lines)
  checkpoints.Checkpoints(folder / 'checkpoints').save(
      int(state.step), state, lines, {
          'config': as_json, 'wall_s': wall_s, 'environment': record})
  run_record.begin(folder, {'from_step': 0} | record)
  results.finish(config, setup, folder, summary, arrays, member.keys.figures,
                 {'wall_s': wall_s} | record, compiled)


def _index(run, member):
  return sweep_settings.members(run.config).index(member.about)


def _lines_of(path, i):
  """Returns the lines of a sweep's metrics.jsonl as a member has them."""
  lines = [{name: value if name in ('step', metrics.TIMING) else value[i]
            for name, value in line.items()} for line in metrics.read(path)]
  return ''.join(f'{json.dumps(line)}\n' for line in lines).encode()


def _summary(config, rows):
  """Returns what a sweep's summary and its evaluation both say."""
  first = rows[0][1]
  own = lambda summary: {
      name: value for name, value in summary.items()
      if name not in (*COMMON, 'update_size', 'training')}
  return {name: first[name] for name in COMMON} | {
      'sweep': {axis: list(config.sweep[axis]) for axis in sweep_settings.AXES},
      'members': [{'name': member.about.name, 'set': member.about.values}
                  | own(summary) for member, summary in rows]}


def _not_finite(members, step, before, info):
  """Saves what the first member that is not finite was taken from; raises.

  It lies in the member's folder, where --mode=replay finds it.
  """
  finite = np.asarray(info['finite']).all(axis=1)
  i = int(np.flatnonzero(~finite)[0])
  config, folder = members[i].config, members[i].folder
  as_json = workdir.as_json(config)
  with contextlib.suppress(
      OSError):  # `reproduce.save` says what it cannot write
    folder.mkdir(parents=True, exist_ok=True)
    atomic_files.write_json(folder / workdir.CONFIG, as_json)
  trainer = meta_training.make(config, build.build(config))
  try:
    reproduce.save(folder, trainer, members[i].keys.train, step,
                   ensemble.member_state(before, i),
                   {name: value[i] for name, value in info.items()}, as_json)
  except errors.NonFiniteError as error:
    raise errors.NonFiniteError(
        f'member {members[i].about.name}, {error}') from None


def _close(run, summary):
  """Prints the table, and says aloud what makes a member worthless."""
  run.say(tables.table(summary))
  for member in summary['members']:
    for i, rate_Hz in enumerate(member['firing_rate_hz']):
      if rate_Hz == 0:
        run.say(f'Warning: hidden layer {i + 1} of {member["name"]} is dead: '
                'not one spike in the test.')
