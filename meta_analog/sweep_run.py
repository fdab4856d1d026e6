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

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import evaluation
from meta_analog import faults
from meta_analog import figures
from meta_analog import files
from meta_analog import history
from meta_analog import metrics
from meta_analog import replay
from meta_analog import report
from meta_analog import settings
from meta_analog import sweep_settings
from meta_analog import sweeps
from meta_analog import training
from meta_analog import workdir as workdir_lib
from meta_analog import write_up

METRICS = 'metrics.jsonl'
# What the summaries of all members share.
COMMON = ('config', 'variant', 'task', 'device', 'metric', 'num_tasks',
          'num_chips', 'support_size')


class Steps(NamedTuple):
  """What a sweep does as a single run does it, see `experiment`."""

  begin: Callable[..., checkpoints.Restored]
  train_loop: Callable[..., tuple[training.TrainState, float]]


class _Member(NamedTuple):
  """A member, with the run that it stands for."""

  about: sweep_settings.Member
  config: ml_collections.ConfigDict
  keys: tuple[jax.Array, ...]  # 5, as a single run splits them
  folder: pathlib.Path


def folder_of(
    folder: pathlib.Path, member: sweep_settings.Member
) -> pathlib.Path:
  """Returns the folder of a member of the sweep in `folder`."""
  return folder / 'members' / member.name


def train(run: Any, steps: Steps) -> dict[str, Any]:
  """Trains, tests and draws all members; returns the sweep's summary.

  Args:
    run: `experiment.Run` of a sweep, its folder claimed.
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
  setup, trainer = assembly.build(config), sweeps.make(config)
  report.header(run.console, config, run.folder)
  run.say(f'A sweep of {len(members)}: {" ".join(names)}')
  saved = checkpoints.Checkpoints(run.folder / 'checkpoints')
  began = steps.begin(run, saved, trainer.init(_keys(members, 0)))
  pool = futures.ThreadPoolExecutor(1)
  try:  # As for a single run: the test compiles meanwhile.
    test = pool.submit(
        evaluation.compile_test, config, setup,
        sweeps.member_state(began.state, 0).params, members[0].keys[2],
        keep=True)
    state, wall_s = steps.train_loop(
        run, trainer, saved, began, _keys(members, 1), names,
        lambda step, before, info: _not_finite(members, step, before, info))
    test = test.result()
  finally:
    pool.shutdown(wait=False, cancel_futures=True)
  compiled = write_up.make(config, setup)
  rows = [_finish(run, member, sweeps.member_state(state, i), test, compiled,
                  wall_s) for i, member in enumerate(members)]
  c = config.training
  tasks = len(members) * c.num_steps * c.tasks_per_step
  summary = _summary(config, rows) | {'training': {
      'steps': c.num_steps, 'tasks_per_step': c.tasks_per_step,
      'members_at_once': sweeps.members_at_once(config), 'wall_s': wall_s,
      'tasks_per_s': tasks / max(wall_s, 1e-9)} | run.record}
  figures.sweep(run.folder / 'figures' / 'sweep.png', summary['members'],
                summary['metric'])
  files.write_json(run.folder / write_up.SUMMARY, summary)
  history.finish(run.folder, write_up.SUMMARY)
  _close(run, summary)
  run.say(f'Written to {run.folder}: summary.json, figures/sweep.png, '
          'metrics.jsonl, checkpoints, and members/ with all of each.')
  return summary


def evaluate(run: Any) -> dict[str, Any]:
  """Tests a trained sweep again; returns and writes evaluation.json.

  Args:
    run: `experiment.Run`, its config checked against that of the folder.

  Returns:
    As `train`.

  Raises:
    settings.InputError: if there is no checkpoint.
  """
  config, members = run.config, _members(run)
  run.stop.advice = 'the same command tests again'
  restored = checkpoints.Checkpoints(run.folder / 'checkpoints').newest(
      sweeps.make(config).init(_keys(members, 0)), run.say)
  if restored is None:
    raise settings.InputError(f'{run.folder} holds no checkpoint to evaluate')
  states = [sweeps.member_state(restored.state, i)
            for i in range(len(members))]
  setup = assembly.build(config)
  test = evaluation.compile_test(
      config, setup, states[0].params, members[0].keys[2], keep=True)
  compiled = write_up.make(config, setup)
  rows = [(member, _test(run, member, state, test, compiled)[2])
          for member, state in zip(members, states)]
  summary = _summary(config, rows) | {'training': {
      'steps': int(restored.state.step)} | run.record}
  files.write_json(run.folder / 'evaluation.json', summary)
  _close(run, summary)
  run.say(f'Written to {run.folder / "evaluation.json"}.')
  return summary


def _members(run):
  """Returns the members, each with the run that it stands for."""
  found = []
  for about in sweep_settings.members(run.config):
    config = sweep_settings.config_of(run.config, about)
    found.append(_Member(
        about, config, tuple(jax.random.split(jax.random.key(config.seed), 5)),
        folder_of(run.folder, about)))
  return found


def _keys(members, i):
  """Returns the i-th key of every member, [M]."""
  return jnp.stack([member.keys[i] for member in members])


def _test(run, member, state, test, compiled):
  """Tests a member; returns its setup, its arrays and its summary."""
  config = member.config
  run.say(f'Testing {member.about.name} (step {int(state.step)}) on '
          f'{config.evaluation.num_tasks} held-out tasks, '
          f'{config.evaluation.num_chips} fresh chips.')
  setup = assembly.build(config)
  arrays = evaluation.run(
      config, setup, state.params, member.keys[2], test)
  return setup, arrays, write_up.summarize(
      config, setup, state, arrays[0], member.keys[3], compiled)


def _finish(run, member, state, test, compiled, wall_s):
  """Leaves the folder of a member's own run; returns it and its summary."""
  folder = member.folder
  setup, arrays, summary = _test(run, member, state, test, compiled)
  with workdir_lib.locked(folder):
    _write_member(run, member, state, setup, arrays, summary, compiled, wall_s)
  return member, summary


def _write_member(
    run, member, state, setup, arrays, summary, compiled, wall_s):
  """Writes all that the run of a member would have left."""
  config, folder = member.config, member.folder
  files.sweep(folder)
  record = run.record | {'seed': config.seed, 'sweep': str(run.folder)}
  as_json = workdir_lib.as_json(config)
  lines = _lines_of(run.folder / METRICS, _index(run, member))
  files.write_json(folder / workdir_lib.CONFIG, as_json)
  with files.replacing(folder / METRICS) as partial:
    partial.write_bytes(lines)
  checkpoints.Checkpoints(folder / 'checkpoints').save(
      int(state.step), state, lines, {
          'config': as_json, 'wall_s': wall_s, 'environment': record})
  history.begin(folder, {'from_step': 0} | record)
  write_up.finish(config, setup, folder, summary, arrays, member.keys[4],
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
  as_json = workdir_lib.as_json(config)
  with contextlib.suppress(OSError):  # `replay.save` says what it cannot write
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / workdir_lib.CONFIG, as_json)
  trainer = training.make(config, assembly.build(config))
  try:
    replay.save(folder, trainer, members[i].keys[1], step,
                sweeps.member_state(before, i),
                {name: value[i] for name, value in info.items()}, as_json)
  except faults.NumbersFault as error:
    raise faults.NumbersFault(
        f'member {members[i].about.name}, {error}') from None


def _close(run, summary):
  """Prints the table, and says aloud what makes a member worthless."""
  run.say(report.table(summary))
  for member in summary['members']:
    for i, rate_Hz in enumerate(member['firing_rate_hz']):
      if rate_Hz == 0:
        run.say(f'Warning: hidden layer {i + 1} of {member["name"]} is dead: '
                'not one spike in the test.')
