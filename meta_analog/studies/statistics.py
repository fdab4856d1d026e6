"""Statistics of a study: the results of its runs, and the mean of each row.

Axis: S seed.
"""

from collections.abc import Sequence
import math
import pathlib
from typing import Any

import numpy as np

from meta_analog.core import errors
from meta_analog.evaluation import intervals
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.studies import jobs
from meta_analog.studies import plan as plan_lib

FORMAT = 1  # of table.json
INTERVAL = (
    'Means over seeds. A seed is another training, other test tasks and other '
    'chips. The interval is 95 %: of Student\'s t over the means of the seeds, '
    'which holds the spread of trainings, of tasks and of chips, or that over '
    'the chips of all seeds, whichever is wider; of one seed, over its chips. '
    'The means of few seeds may agree by luck, hence the second.')
TRAINING_KEYS = ('steps', 'tasks_per_step', 'wall_s', 'commit',
                 'uncommitted_changes', 'cores', 'device_kind', 'jax', 'python')
READAPT_PULSES = 'readapt_pulses_per_task_by_time_s'
SUMMARY_KEYS = ('task', 'metric', 'device', 'num_tasks', 'num_chips',
                'support_size', 'before', 'after', 'after_by_time_s', 'write',
                'firing_rate_hz', 'baselines')


def collect(
    plan: plan_lib.Plan, folder: pathlib.Path
) -> dict[str, Any]:
  """Returns table.json: all that table.md and the figure are made of.

  Args:
    plan: of the study.
    folder: of the study.

  Returns:
    'format', 'seeds', 'times_s', 'interval' (what it is, in words),
    'references', 'axes' ({field: values}), and 'cases', the rows: for each what
    was declared, 'seeds' (for each that is finished its own numbers with the
    interval over its chips), 'missing' ([{'seed', 'why'}]) and 'all': the means
    over seeds, see `summarize`, None where none is finished. Its keys 'of' and
    'wanted' are `source`, or the run or file in `params`, and `required`.
  """
  rows = []
  for row in plan.rows:
    finished, missing = [], []
    for run in (run for run in plan.runs if run.row.name == row.name):
      values, why = _numbers(run, folder)
      if values is None:
        missing.append({'seed': run.seed, 'why': why})
      else:
        finished.append(values)
    rows.append(_declared(plan, row) | {
        'seeds': finished, 'missing': missing,
        'all': summarize(finished) if finished else None})
  named = {row['name']: row for row in rows}
  main = f'{plan.times_s[0]:.12g}'
  for row in rows:
    if row['of'] and row['all'] and row['params'] == 'trained':
      row['all']['change'] = change(
          row['seeds'], named[row['of']]['seeds'], main)
  return {'format': FORMAT, 'seeds': list(plan.seeds),
          'times_s': list(plan.times_s), 'interval': INTERVAL, 'cases': rows,
          'references': list(plan.references),
          'axes': {axis.field: list(axis.values) for axis in plan.axes}}


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns the means over seeds.

  Args:
    runs: numbers of the seeds of one row, at least one.

  Returns:
    'before', each of 'after_by_time_s' and of 'baselines' as `combine` gives
    them; the means of 'pulses_per_task', 'devices_written_per_task',
    READAPT_PULSES, 'firing_rate_hz' and, of a trained row, 'wall_s'. `collect`
    adds 'change'.
  """
  mean = lambda get: float(np.mean([get(run) for run in runs]))
  times = [time for time in runs[0]['after_by_time_s']
           if all(time in run['after_by_time_s'] for run in runs)]
  walls = [run['training']['wall_s'] for run in runs
           if run['training']['wall_s'] is not None]
  baselines = [run['baselines'] for run in runs]
  return {
      'baselines': {
          name: combine([results[name] for results in baselines])
          for name in baselines[0]
          if all(name in results for results in baselines)},
      'before': combine([run['before'] for run in runs]),
      'after_by_time_s': {
          time: combine([run['after_by_time_s'][time] for run in runs])
          for time in times},
      'pulses_per_task': mean(lambda run: run['write']['pulses_per_task']),
      'devices_written_per_task': mean(
          lambda run: run['write']['devices_written_per_task']),
      'firing_rate_hz': [float(x) for x in np.mean(
          [run['firing_rate_hz'] for run in runs], axis=0)],
      READAPT_PULSES: {
          time: mean(lambda run, time=time: run['write'][READAPT_PULSES][time])
          for time in times} if READAPT_PULSES in runs[0]['write'] else {},
      'wall_s': float(np.mean(walls)) if walls else None}


def change(
    runs: Sequence[dict[str, Any]], source: Sequence[dict[str, Any]],
    time: str
) -> dict[str, float | None] | None:
  """Returns what other conditions change, pair by pair.

  A net is tested again on the tasks and the chips of its first test, so that
  the spread of these and of trainings falls out of the difference.

  Args:
    runs: numbers of the seeds of the evaluated row.
    source: those of the trained row.
    time: key of 'after_by_time_s'.

  Returns:
    'mean' and 'ci95', of Student's t over the differences of the seeds that
    both have; None where there is none.
  """
  at = lambda run: run['after_by_time_s'].get(time, {}).get('mean')
  first = {run['seed']: at(run) for run in source}
  pairs = [at(run) - first[run['seed']] for run in runs
           if None not in (at(run), first.get(run['seed']))]
  if not pairs:
    return None
  found = combine([{'mean': pair, 'ci95': None} for pair in pairs])
  return {'mean': found['mean'], 'ci95': found['ci95_seeds']}


def combine(results: Sequence[dict[str, float | None]]) -> dict[str, Any]:
  """Returns the mean of independent results, and how far it may be off.

  With m_s the mean of seed s and h_s the half width over its chips,

      ci95_seeds = t(S - 1) sqrt(sum_s (m_s - m)² / (S - 1) / S)
      ci95_chips = sqrt(sum_s h_s²) / S

  and ci95 the larger. The first is exact for normal means: a seed's mean holds
  the error of its training and that of its chips. The second knows nothing
  of trainings, but stays where few seeds agree by luck.

  Args:
    results: [S], 'mean' and 'ci95' over chips, None for a single chip.

  Returns:
    'mean', 'ci95', 'ci95_seeds', 'ci95_chips', 'std_seeds'; None where the
    results do not tell.
  """
  means = np.array([result['mean'] for result in results])
  halves = [result['ci95'] for result in results]
  n, over_seeds, over_chips, std = len(means), None, None, None
  if n > 1:
    std = float(means.std(ddof=1))
    over_seeds = intervals.half_width(means)
  if None not in halves:
    over_chips = math.sqrt(sum(half**2 for half in halves)) / n
  known = [half for half in (over_seeds, over_chips) if half is not None]
  return {'mean': float(means.mean()), 'ci95': max(known, default=None),
          'ci95_seeds': over_seeds, 'ci95_chips': over_chips,
          'std_seeds': std}


def _numbers(run, folder):
  """Returns the numbers of a finished job, else None and why not."""
  found = jobs.find(run, folder)
  if found.summary is None:
    return None, found.why
  try:
    config = atomic_files.read_json(run.folder / workdir.CONFIG)
    summary, training = found.summary, found.summary['training']
    return {name: summary[name] for name in SUMMARY_KEYS} | {
        'baselines': summary['baselines'], 'seed': run.seed,
        'folder': str(run.folder.relative_to(folder)),
        'training': {name: training.get(name) for name in TRAINING_KEYS},
        'hidden_sizes': config['network']['hidden_sizes'],
        'convolutions': config['network'].get('convolutions', []),
        'devices_per_polarity': [config['crossbar']['hidden_devices'],
                                 config['crossbar']['output_devices']]}, ''
  except (errors.CorruptFileError, KeyError, TypeError) as error:
    return None, f'damaged: {errors.reason(error)}'


def _declared(plan, row):
  """Returns what a row declares, by the keys of table.json."""
  named = {other.name: other for other in plan.rows}
  values = row._asdict()
  values |= {'of': values.pop('source'), 'wanted': values.pop('required'),
             'config': named.get(row.source, row).config}
  if row.is_evaluated and not row.source:
    values['of'] = row.params  # a run or a file
  return values
