"""Share of 1/f read noise that two reads have in common, in NumPy."""

import numpy as np

YEAR_S = 365.25 * 86400.0
READ_S = 250e-9


def law(age_s, gap_s):
  """Returns the share of 1/f noise that is slower than gap_s."""
  return np.log(age_s / gap_s) / np.log(age_s / READ_S)


def of_parts(age_s, gap_s):
  """Returns what the parts share, in float64."""
  low = np.array([0.1, 1.0, 10.0, 100.0, 1000.0])
  high = np.array([1.0, 10.0, 100.0, 1000.0, np.inf])
  shares = np.log(np.clip(age_s, low, high) / low) / np.log(age_s / READ_S)
  tau = np.exp(0.5772156649015329) * np.sqrt(low * high)
  return np.sum(shares * np.exp(-gap_s / tau))
