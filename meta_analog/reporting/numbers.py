"""Numbers in words, for tables and figures."""

import math


def two_digits(value: float) -> str:
  """Returns an order of magnitude: two digits, no exponent where it fits.

  Args:
    value: any number: 1,234.5 is '1200', 0.1 is '0.10'.
  """
  rounded = float(f'{value:.1e}')
  if rounded and not 1e-4 <= abs(rounded) < 1e9:
    return f'{rounded:.1e}'
  digits = 1 - math.floor(math.log10(abs(rounded))) if rounded else 1
  return f'{rounded:.{max(0, digits)}f}'
