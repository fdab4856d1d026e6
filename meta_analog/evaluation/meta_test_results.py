"""Arrays that a meta-test measures, and their layout in evaluation.npz.

Axes: B task, D time of a query set, N sample, I input, O output, L layer.
"""

from typing import NamedTuple

import ml_collections
import numpy as np

from meta_analog.core import types
from meta_analog.programming import protocols


class MetaTestResults(NamedTuple):
  """Measurements on the held-out tasks of a test, B of them."""

  # [B, N, .]; without x where the latent says it (see `types.Task.recall`).
  episodes: types.Episode
  query_before: np.ndarray  # [B, N, O], outputs before adaptation
  query_after: np.ndarray  # [B, D, N, O], and after
  loss_all_steps: np.ndarray  # [B, D], score averaged over all time steps
  rate_Hz: np.ndarray  # [B, L], at evaluation.t_test_s
  written: protocols.Counts  # [B], of all adaptation events of a task
  programmed: protocols.Counts  # [B], of the task's chip
  mean_uS: np.ndarray  # [B], of all devices of the task's chip
  # [B, D], of the adaptation before each time, where there is one.
  readapt_pulses: np.ndarray | None = None
  after_s: np.ndarray | None = None  # [D]
  task_index: np.ndarray | None = None  # [B]
  chip_index: np.ndarray | None = None  # [B]


def layout(
    config: ml_collections.ConfigDict, results: MetaTestResults
) -> dict[str, np.ndarray]:
  """Returns the arrays of evaluation.npz.

  Args:
    config: checked.
    results: of a test.

  Returns:
    support_x, support_y, query_x, query_y, query_before and query_after [B, N]
    where inputs and outputs are one number, else [B, N, .]; query_after is that
    of evaluation.t_test_s, and query_after_by_time [B, D, N, O] has all times.
    pulses, resets, reads, devices [B], of all adaptation events; the same with
    the prefix program_; the fields of the task's latent with the prefix
    latent_; the other fields of the results under their names.
  """
  episodes, after_s = results.episodes, results.after_s.tolist()
  after = results.query_after
  out = {
      'support_x': episodes.support.x, 'support_y': episodes.support.y,
      'query_x': episodes.query.x, 'query_y': episodes.query.y,
      'query_before': results.query_before,
      'query_after': after[:, after_s.index(config.evaluation.t_test_s)]}
  out = {name: x[..., 0] if x.ndim == 3 and x.shape[-1] == 1 else x
         for name, x in out.items() if x is not None}
  rest = ('loss_all_steps', 'rate_Hz', 'mean_uS', 'readapt_pulses', 'after_s',
          'task_index', 'chip_index')
  rest = {name: getattr(results, name) for name in rest}
  out |= {name: x for name, x in rest.items() if x is not None}
  for prefix, values in (
      ('', results.written), ('program_', results.programmed),
      ('latent_', episodes.latent)):
    out |= {f'{prefix}{name}': x for name, x in values._asdict().items()}
  return out | {'query_after_by_time': after}
