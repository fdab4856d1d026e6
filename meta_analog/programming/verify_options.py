"""What a program-and-verify may spend, and whether that can be.

A tolerance below what its reads can tell makes each latch a lottery of read
noise, so it is refused, and with it what would never end.
"""

import math
from typing import NamedTuple

import jax

from meta_analog.programming import controller

MIN_SIGMAS = 1.0  # a tolerance below so many deviations is a lottery of reads


class VerifyOptions(NamedTuple):
  """What a verification may spend, and when it is content; all traced."""

  max_rounds: jax.Array | int = 100
  max_pulses: jax.Array | int = 100  # per pair, or per device
  max_resets: jax.Array | int = 10  # per pair, or per device
  num_reads: jax.Array | int = 16  # averaged in each look
  read_span_s: jax.Array | float = 0.1  # that the reads of a look spread over
  # Share of the read variance that is new in each read of a look, for 1/f noise
  # ln(read_span_s / t_read) / ln(t / t_read) = ln(0.1 s / 250 ns) / ln(100 s /
  # 250 ns); the rest no number of reads averages out. 16 reads back to back,
  # 4 us, have 0.14.
  fresh_share: jax.Array | float = 0.65
  # At least the deviation of a look: 0.64 uS for 4 PCM devices per polarity.
  tolerance_uS: jax.Array | float = 0.7
  delay_s: jax.Array | float = 1.0  # between a pulse and its read
  drift_correction: jax.Array | float = 1.0  # 0 none, 1 all of the mean law
  level_uS: jax.Array | float = 9.0  # above, a side has no room left
  overshoot_uS: jax.Array | float = 2.0  # beyond, begin again


def check_ranges(budget: VerifyOptions) -> None:
  """Raises ValueError at the first value that no verification could use.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for field, least in (('max_rounds', 1), ('max_pulses', 1), ('max_resets', 0),
                       ('num_reads', 1)):
    value = getattr(budget, field)
    if not math.isfinite(value) or value != int(value) or value < least:
      raise ValueError(f'{field} = {value}: must be a whole number, at least '
                       f'{least}')
  for field in ('tolerance_uS', 'level_uS', 'overshoot_uS'):
    value = getattr(budget, field)
    if not value > 0:
      raise ValueError(f'{field} = {value}: must be greater than 0')
  for field in ('delay_s', 'read_span_s'):
    value = getattr(budget, field)
    if not 0 <= value < math.inf:
      raise ValueError(f'{field} = {value}: must be at least 0')
  for field in ('drift_correction', 'fresh_share'):
    value = getattr(budget, field)
    if not 0 <= value <= 1:
      raise ValueError(f'{field} = {value}: must be from 0 to 1')


def check(budget: VerifyOptions,
          read_sigma_uS: float,
          *,
          duration_s: float = math.inf,
          step_uS: float = 0.0) -> None:
  """Raises ValueError where a budget cannot be kept; see `check_ranges`.

  Args:
    budget: numbers.
    read_sigma_uS: deviation of one read of what is verified, at the largest
      target, see `controller.read_sigma_uS`.
    duration_s: from the start to the time that the weights are wanted for.
    step_uS: mean step of a bidirectional device; 0 for others.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  check_ranges(budget)
  if budget.tolerance_uS < 0.5 * step_uS:
    raise ValueError(
        f'tolerance_uS = {budget.tolerance_uS}: must be at least half a step, '
        f'{0.5 * step_uS:.3g}, of a device whose pulses go both ways: around '
        'the target they would come without end')
  least_uS = MIN_SIGMAS * read_sigma_uS * math.sqrt(
      controller.mean_read_variance(budget.num_reads, budget.fresh_share))
  if not budget.tolerance_uS >= least_uS:
    raise ValueError(
        f'tolerance_uS = {budget.tolerance_uS}: must be at least '
        f'{least_uS:.3g}, the deviation of the mean of num_reads = '
        f'{budget.num_reads} reads')
  last_s = longest_s(budget)
  if last_s > duration_s:
    raise ValueError(
        f'max_rounds = {budget.max_rounds}, delay_s = {budget.delay_s}, '
        f'read_span_s = {budget.read_span_s}: {last_s:.6g} s must not exceed '
        f'the {duration_s} s until the weights are wanted')


def longest_s(budget: VerifyOptions) -> float:
  """Returns how long a verification may take, s."""
  return float(
      (budget.max_rounds + 1) * (budget.delay_s + budget.read_span_s))
