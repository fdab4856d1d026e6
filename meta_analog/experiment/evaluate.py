"""Evaluation of a trained network, in its run's folder or in one of its own.

A run's own network is evaluated into the run's folder, as evaluation.json,
evaluation_2.json and so on. A source (another run, a file of meta-parameters,
or the network before training) is evaluated into a folder of its own, which
then holds config.json, evaluation.npz and summary.json. The keys are those of a
run with the config's seed, so that tasks and chips are the run's own where the
conditions leave them.
"""

import pathlib
from typing import Any
from typing import NamedTuple

import jax

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.evaluation import energy_comparison
from meta_analog.evaluation import meta_test_results
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import context as context_lib
from meta_analog.experiment import figure_data
from meta_analog.experiment import results as results_lib
from meta_analog.experiment import run_keys
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.reporting import run_figures
from meta_analog.reporting import style
from meta_analog.reporting import tables
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import distributed
from meta_analog.training import meta_training
from meta_analog.training import params_file

INITIAL = 'initial'  # source: the network before training, and pretraining


class _Restored(NamedTuple):
  """A network to evaluate."""

  setup: build.Setup
  state: meta_training.TrainState
  keys: run_keys.RunKeys


def evaluate(
    context: context_lib.Context, source: str | None = None
) -> dict[str, Any]:
  """Evaluates a network under the context's config.

  Args:
    context: of the command, its folder locked.
    source: folder of a run, file of meta-parameters (.npz), or INITIAL; None is
      the run in the context's folder.

  Returns:
    What was written: evaluation.json, with the fields of a run's summary; of a
    source summary.json, without 'update_size' and with 'of', see `origin`.

  Raises:
    errors.InputError: if the folder or the source cannot be; before the test.
    errors.RunError: if a file is damaged or an output is not finite.
  """
  if source is None:
    return _evaluate_own(context)
  return _evaluate_source(context, source)


def check_source(source: str) -> None:
  """Raises InputError if a source is no run, no file, or a link.

  Args:
    source: see `evaluate`.
  """
  path = pathlib.Path(source)
  if source == INITIAL:
    return
  if path.is_symlink():
    raise errors.InputError(f'--source={source} is a link: name what it links '
                            'to')
  if path.suffix == '.npz' and not path.is_file():
    raise errors.InputError(f'--source={source}: there is no such file')
  if path.suffix != '.npz' and not (path / workdir.CONFIG).is_file():
    raise errors.InputError(
        f'--source={source} holds no run: no {workdir.CONFIG} there; it must '
        f'be the folder of a run, a .npz file of meta-parameters, or {INITIAL}')


def origin(source: str | pathlib.Path) -> dict[str, Any]:
  """Returns what was evaluated: 'params', and the SHA-256 of summary or file.

  The summary holds the seconds that the training took, so a run that was
  trained again is another.

  Args:
    source: see `evaluate`.

  Raises:
    errors.CorruptFileError: if the run has no summary.
  """
  if source == INITIAL:
    return {'params': INITIAL}
  path = pathlib.Path(source)
  if path.suffix == '.npz':
    return {'params': 'file', 'sha256': atomic_files.sha256(
        atomic_files.read_bytes(path))}
  content = atomic_files.read_bytes(path / results_lib.SUMMARY)
  return {'params': 'trained', 'summary_sha256': atomic_files.sha256(content)}


def is_evaluation(folder: pathlib.Path) -> bool:
  """Returns whether a folder with a summary holds an evaluation, not a run."""
  return not (folder / 'checkpoints').exists() and not (
      folder / 'metrics.jsonl').exists()


def energy(context: context_lib.Context) -> dict[str, Any]:
  """Compares ways to write a run's adaptation; returns and writes energy.json.

  Further comparisons are energy_2.json and so on; none is overwritten.

  Args:
    context: of the command, its folder that of a run, and locked.

  Raises:
    errors.InputError: if there is no checkpoint, or no way to write can be.
    errors.RunError: if a file is damaged or an output is not finite.
  """
  config, folder = context.config, context.folder
  distributed.from_first(lambda: workdir.check_of_run(config, folder))
  cases, left_out = energy_comparison.possible(config)
  setup, state, keys = _restore(context, folder)
  context.log(f'Evaluating {folder} (step {int(state.step)}) in {len(cases)} '
              f'way{"s" * (len(cases) > 1)} to write, on '
              f'{config.evaluation.num_tasks} tasks each.')
  for label, why in left_out.items():
    context.log(f'Left out: {label}: {why}.')
  rows = energy_comparison.run(
      config, cases, state.params, keys.test, context.log)
  out = {'metric': setup.task.metric, 'cases': rows, 'left_out': left_out,
         'training': {'steps': int(state.step)} | context.record}
  distributed.from_first(lambda: _write_energy(context, out))
  return out


def _write_energy(context, out):
  """Writes, draws and prints a comparison of ways to write."""
  path = workdir.unused(context.folder, 'energy.json')
  figure = context.folder / 'figures' / f'{path.stem}.png'
  atomic_files.write_json(path, out)
  drawn = style.draw(figure, lambda path: run_figures.energy(
      path, out['cases'], out['metric']), context.log)
  context.log(tables.energy_table(out))
  context.log(f'Written to {context.folder}: {path.name}'
              + (f', figures/{figure.name}.' if drawn else '.'))


def _evaluate_own(context):
  """Evaluates the run in the context's folder, which need not be finished."""
  config, folder = context.config, context.folder
  distributed.from_first(lambda: workdir.check_of_run(config, folder))
  restored = _restore(context, folder)
  results, chip = _test(context, restored, folder)

  def write():
    summary, compiled = _summarize(context, restored, results)
    summary['update_size'] = figure_data.update_size(*figure_data.updates(
        chip, restored.keys.figures, compiled.ordinary_fn))
    summary['training'] = {
        'steps': int(restored.state.step)} | context.record
    path = workdir.unused(folder, 'evaluation.json')
    atomic_files.write_json(path, summary)
    results_lib.report(summary, context.log)
    context.log(f'Written to {path}.')
    return summary

  return distributed.from_first(write)


def _evaluate_source(context, source):
  """Evaluates a source into a folder that is no run's."""
  config, folder = context.config, context.folder
  found_origin = distributed.from_first(lambda: _begin(context, source))
  restored = _restore(context, source)
  step = int(restored.state.step)
  is_run = source != INITIAL and pathlib.Path(source).suffix != '.npz'
  if is_run and step < config.training.num_steps:
    raise errors.InputError(
        f'{source} is trained to step {step} of {config.training.num_steps}: '
        'train it to its end first')
  results, _ = _test(context, restored, source)

  def write():
    summary, _ = _summarize(context, restored, results)
    summary |= {'of': found_origin,
                'training': {'steps': step} | context.record}
    atomic_files.json_text(summary, results_lib.SUMMARY)  # all are finite
    # What was there before is whole until here.
    (folder / results_lib.SUMMARY).unlink(missing_ok=True)
    atomic_files.write_json(folder / workdir.CONFIG, workdir.as_json(config))
    atomic_files.write_npz(
        folder / 'evaluation.npz', meta_test_results.layout(config, results))
    run_record.finish(folder, results_lib.SUMMARY, summary)
    results_lib.report(summary, context.log)
    context.log(f'Written to {folder}: {workdir.contents(folder)}.')
    return summary

  return distributed.from_first(write)


def _begin(context, source):
  """Checks the folder and the source; returns the source's origin."""
  folder = context.folder
  if workdir.is_begun(folder) and not is_evaluation(folder):
    raise errors.InputError(
        f'workdir {folder} holds a run; choose another --workdir')
  found_origin = origin(source)
  if found_origin['params'] == 'trained':
    workdir.check_of_run(context.config, pathlib.Path(source))
  if (folder / results_lib.SUMMARY).exists():
    context.log(f'{folder} holds an evaluation, which this one replaces.')
  run_record.begin(folder, context.record)
  return found_origin


def _restore(context, source):
  """Returns the network of a source, of its newest checkpoint if of a run."""
  setup = build.build(context.config)
  trainer = meta_training.make(context.config, setup)
  keys = run_keys.make(context.config.seed)
  context.stop.advice = 'the same command evaluates again'
  state = jax.jit(trainer.init)(keys.init)
  found = [state]
  distributed.from_first(lambda: found.append(
      _read(context, source, distributed.local(state))))
  return _Restored(setup, distributed.broadcast(found[-1]), keys)


def _read(context, source, state):
  """Returns a state with the parameters of a source, placed alike."""
  path = pathlib.Path(source)
  if source == INITIAL:
    return state
  if path.suffix == '.npz':
    place = lambda new, old: jax.device_put(new, old.sharding) if isinstance(
        old, jax.Array) else new
    params = params_file.load(path, state.params)
    return state._replace(params=jax.tree.map(place, params, state.params))
  restored = checkpoints.Checkpoints(path / 'checkpoints').newest(
      state, context.log)
  if restored is None:
    raise errors.InputError(f'{path} holds no checkpoint to evaluate')
  return restored.state


def _test(context, restored, source):
  """Returns results and chip of `meta_testing.run`."""
  config, step = context.config, int(restored.state.step)
  name = 'the untrained network' if source == INITIAL else source
  context.log(f'Evaluating {name}{f" (step {step})" if step else ""} on '
              f'{config.evaluation.num_tasks} tasks, '
              f'{config.evaluation.num_chips} fresh chips.')
  return meta_testing.run(
      config, restored.setup, restored.state.params, restored.keys.test)


def _summarize(context, restored, results):
  """Returns the part of a summary that the test decides, and what computed."""
  compiled = results_lib.make(context.config, restored.setup)
  return results_lib.summarize(
      context.config, restored.setup, distributed.local(restored.state),
      results, restored.keys.validation, compiled), compiled
