"""Numbers in words, for tables and figures."""


def two_digits(value: float) -> str:
  """Returns an order of magnitude: two digits, no exponent where it fits.

  Args:
    value: any number: 1,234.5 is '1200', 0.01234 is '0.012'.
  """
  return f'{float(f"{value:.1e}"):.9g}'
