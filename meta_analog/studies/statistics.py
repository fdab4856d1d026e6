"""The table of a grid: what its runs found, and the mean of each case.

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

INTERVAL = (
    'Means over seeds. A seed is another training, other test tasks and other '
    'chips. The interval is 95 %: of Student\'s t over the means of the seeds, '
    'which holds the spread of trainings, of tasks and of chips, or that over '
    'the chips of all seeds, whichever is wider; of one seed, over its chips. '
    'The means of few seeds may agree by luck, hence the second.')
OF_TRAINING = ('steps', 'tasks_per_step', 'wall_s', 'commit',
               'uncommitted_changes', 'cores', 'device_kind', 'jax', 'python')
ANEW = 'readapt_pulses_per_task_by_time_s'
OF_SUMMARY = ('task', 'metric', 'device', 'num_tasks', 'num_chips',
              'support_size', 'before', 'after', 'after_by_time_s', 'write',
              'firing_rate_hz', 'baselines')


def collect(
    plan: plan_lib.Plan, folder: pathlib.Path
) -> dict[str, Any]:
  """Returns table.json: all that table.md and the figure are made of.

  Args:
    plan: of the grid.
    folder: of the grid.

  Returns:
    'seeds', 'times_s', 'interval' (what it is, in words), 'references', and
    'cases': for each what was declared, 'seeds' (for each that is finished its
    own numbers with the interval over its chips), 'missing' ([{'seed', 'why'}])
    and 'all': the means over seeds, see `summarize`, None where none is
    finished.
  """
  cases = []
  for case in plan.cases:
    rows, missing = [], []
    for job in (job for job in plan.jobs if job.case.name == case.name):
      row, why = _row(job, folder)
      if row is None:
        missing.append({'seed': job.seed, 'why': why})
      else:
        rows.append(row)
    declared = case._asdict() | {'config': _config_of(plan, case)}
    cases.append(declared | {
        'seeds': rows, 'missing': missing,
        'all': summarize(rows) if rows else None})
  named = {case['name']: case for case in cases}
  main = f'{plan.times_s[0]:.12g}'
  for case in cases:
    if case['of'] and case['all'] and case['params'] == 'trained':
      case['all']['change'] = change(
          case['seeds'], named[case['of']]['seeds'], main)
  return {'seeds': list(plan.seeds), 'times_s': list(plan.times_s),
          'interval': INTERVAL, 'cases': cases,
          'references': list(plan.references)}


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns the means over seeds.

  Args:
    rows: of the seeds of one case, at least one.

  Returns:
    'before', each of 'after_by_time_s' and of 'baselines' as `combine` gives
    them; the means of 'pulses_per_task', 'devices_written_per_task', ANEW,
    'firing_rate_hz' and, of a trained case, 'wall_s'. `collect` adds 'change'.
  """
  mean = lambda get: float(np.mean([get(row) for row in rows]))
  times = [time for time in rows[0]['after_by_time_s']
           if all(time in row['after_by_time_s'] for row in rows)]
  walls = [row['training']['wall_s'] for row in rows
           if row['training']['wall_s'] is not None]
  own = [_own(row['baselines']) for row in rows]
  return {
      'baselines': {
          name: combine([results[name] for results in own])
          for name in own[0] if all(name in results for results in own)},
      'before': combine([row['before'] for row in rows]),
      'after_by_time_s': {
          time: combine([row['after_by_time_s'][time] for row in rows])
          for time in times},
      'pulses_per_task': mean(lambda row: row['write']['pulses_per_task']),
      'devices_written_per_task': mean(
          lambda row: row['write']['devices_written_per_task']),
      'firing_rate_hz': [float(x) for x in np.mean(
          [row['firing_rate_hz'] for row in rows], axis=0)],
      ANEW: {time: mean(lambda row, time=time: row['write'][ANEW][time])
             for time in times} if ANEW in rows[0]['write'] else {},
      'wall_s': float(np.mean(walls)) if walls else None}


def change(
    rows: Sequence[dict[str, Any]], of: Sequence[dict[str, Any]], time: str
) -> dict[str, float | None] | None:
  """Returns what other conditions change, pair by pair.

  A net is tested again on the tasks and the chips of its first test, so that
  the spread of these and of trainings falls out of the difference.

  Args:
    rows: of the seeds of the case that tests nets again.
    of: of those that it tests.
    time: key of 'after_by_time_s'.

  Returns:
    'mean' and 'ci95', of Student's t over the differences of the seeds that
    both have; None where there is none.
  """
  at = lambda row: row['after_by_time_s'].get(time, {}).get('mean')
  first = {row['seed']: at(row) for row in of}
  pairs = [at(row) - first[row['seed']] for row in rows
           if None not in (at(row), first.get(row['seed']))]
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
  the deviation of its training and that of its chips. The second knows nothing
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


def _row(job, folder):
  """Returns the numbers of a finished job, else None and why not."""
  found = jobs.find(job, folder)
  if found.summary is None:
    return None, found.why
  try:
    config = atomic_files.read_json(job.folder / workdir.CONFIG)
    summary, training = found.summary, found.summary['training']
    return {name: summary[name] for name in OF_SUMMARY} | {
        'baselines': _own(summary['baselines']), 'seed': job.seed,
        'folder': str(job.folder.relative_to(folder)),
        'training': {name: training.get(name) for name in OF_TRAINING},
        'hidden_sizes': config['network']['hidden_sizes'],
        'convolutions': config['network'].get('convolutions', []),
        'devices_per_polarity': [config['crossbar']['hidden_devices'],
                                 config['crossbar']['output_devices']]}, ''
  except (errors.CorruptFileError, KeyError, TypeError) as error:
    return None, f'damaged: {errors.reason(error)}'


def _own(baselines):
  """Returns what was not measured elsewhere, which another run may outdate."""
  return {name: result for name, result in baselines.items()
          if 'source' not in result}


def _config_of(plan, case):
  """Returns the config that a case was made from."""
  named = {other.name: other for other in plan.cases}
  return named.get(case.of, case).config
