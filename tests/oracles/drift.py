"""Oracle of the mean drift over a spread of exponents: quadrature."""

import numpy as np


def mean_share(nu, std, log_age, law='cut', lowest=0.0):
  """Returns the mean of exp(-x log_age) over exponents x.

  Args:
    nu: mean of the normal exponent n, a number.
    std: its standard deviation, a number.
    log_age: logarithm of the relative age, a number.
    law: 'cut' for x = max(n, lowest), 'folded' for x = |n|.
    lowest: exponent.
  """
  # Dense around the middle of the exponents and around that of the integrand,
  # and with a point where the law has its edge.
  grid = np.linspace(-12.0, 12.0, 100_001)
  edge = (lowest - nu) / std if std > 0 else 0.0
  z = np.sort(np.concatenate([grid, grid - std * log_age, [edge]]))
  n = nu + std * z
  x = np.maximum(n, lowest) if law == 'cut' else np.abs(n)
  density = np.exp(-x * log_age - 0.5 * z**2) / np.sqrt(2 * np.pi)
  return float(np.trapezoid(density, z))
