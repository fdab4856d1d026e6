"""95 % confidence intervals of means, by Student's t."""

import functools

import numpy as np
from scipy import special


def of_chips(scores: np.ndarray, chips: np.ndarray) -> dict[str, float | None]:
  """Returns the mean over tasks and the half width of its 95 % interval.

  Tasks on one chip share its errors, so chips, not tasks, are the independent
  draws: the interval is that of the chips' means.

  Args:
    scores: [B].
    chips: [B], the chip of each task; all chips have the same number of tasks.

  Returns:
    {'mean', 'ci95'}; ci95 is None for a single chip.
  """
  means = scores.reshape(len(np.unique(chips)), -1).mean(axis=1)
  return {'mean': float(np.mean(scores)), 'ci95': half_width(means)}


def half_width(values: np.ndarray) -> float | None:
  """Returns the half width of the 95 % interval of a mean.

      t(n - 1) sqrt(sum_i (x_i - m)² / (n - 1) / n)

  Args:
    values: [n], independent draws.

  Returns:
    In the unit of the values; None for a single one.
  """
  n = len(values)
  if n < 2:
    return None
  return float(t_975(n - 1) * np.std(values, ddof=1) / np.sqrt(n))


@functools.cache
def t_975(num_freedom: int) -> float:
  """Returns the 0.975 quantile of Student's t, scipy.stats.t.ppf(0.975, .).

  Args:
    num_freedom: degrees of freedom, at least 1.
  """
  return float(special.stdtrit(num_freedom, 0.975))  # what scipy.stats calls
