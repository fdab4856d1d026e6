"""Options of program-and-verify, and checks that they can be met.

With a tolerance below the standard deviation of its reads each latch would be
decided by read noise, so such a tolerance is refused.
"""

import math
from typing import NamedTuple

import jax

from meta_analog.programming import controller

MIN_SIGMAS = 1.0  # least tolerance in standard deviations of the mean read


class VerifyOptions(NamedTuple):
  """Limits and tolerance of a verification; all traced."""

  max_rounds: jax.Array | int = 100  # a measurement, then pulses
  max_pulses: jax.Array | int = 100  # per pair, or per device
  max_resets: jax.Array | int = 10  # per pair, or per device
  num_reads: jax.Array | int = 16  # averaged in each measurement
  read_span_s: jax.Array | float = 0.1  # duration of a measurement
  # Share of the read variance that is new in each read; for 1/f noise it is
  # ln(read_span_s / t_read) / ln(t / t_read) = ln(0.1 s / 250 ns) / ln(100 s /
  # 250 ns); the rest no number of reads averages out. 16 reads back to back,
  # 4 us, have 0.14.
  fresh_share: jax.Array | float = 0.65
  # At least the standard deviation of a measurement: 0.64 uS for 4 PCM devices
  # per polarity.
  tolerance_uS: jax.Array | float = 0.7
  delay_s: jax.Array | float = 1.0  # between a pulse and its read
  drift_correction: jax.Array | float = 1.0  # 0 none, 1 all of the mean law
  level_uS: jax.Array | float = 9.0  # above, a side has no headroom
  overshoot_uS: jax.Array | float = 2.0  # beyond, RESET both


# field: (lowest, highest, whether the lowest itself is allowed)
RANGES = {
    'max_rounds': (1, 10**6, True),
    'max_pulses': (1, 10**6, True),
    'max_resets': (0, 10**6, True),
    'num_reads': (1, 10**6, True),
    'read_span_s': (0, math.inf, True),
    'fresh_share': (0, 1, True),
    'tolerance_uS': (0, math.inf, False),
    'delay_s': (0, math.inf, True),
    'drift_correction': (0, 1, True),
    'level_uS': (0, math.inf, False),
    'overshoot_uS': (0, math.inf, False),
}
WHOLE = ('max_rounds', 'max_pulses', 'max_resets', 'num_reads')


def check_ranges(options: VerifyOptions) -> None:
  """Checks that every option is finite and in its range.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for field, (low, high, closed) in RANGES.items():
    value, kind = getattr(options, field), ''
    if field in WHOLE:
      kind = 'a whole number, '
    if not (math.isfinite(value) and low <= value <= high) or (
        value == low and not closed) or (kind and value != int(value)):
      least = f'at least {low}' if closed else f'greater than {low}'
      most = '' if high == math.inf else f' and at most {high}'
      raise ValueError(f'{field} = {value}: must be {kind}{least}{most}')


def check(options: VerifyOptions,
          read_sigma_uS: float,
          *,
          duration_s: float = math.inf,
          step_uS: float = 0.0) -> None:
  """Checks that options can be met; see also `check_ranges`.

  Args:
    options: numbers.
    read_sigma_uS: standard deviation of one read at the largest target, see
      `controller.read_sigma_uS`.
    duration_s: from the start to the date of the target.
    step_uS: mean step of a bidirectional device; 0 for others.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  check_ranges(options)
  if options.tolerance_uS < 0.5 * step_uS:
    raise ValueError(
        f'tolerance_uS = {options.tolerance_uS}: must be at least half a step, '
        f'{0.5 * step_uS:.3g}, of a device whose pulses go both ways: around '
        'the target they would come without end')
  least_uS = MIN_SIGMAS * read_sigma_uS * math.sqrt(
      controller.mean_read_variance(options.num_reads, options.fresh_share))
  if not options.tolerance_uS >= least_uS:
    raise ValueError(
        f'tolerance_uS = {options.tolerance_uS}: must be at least '
        f'{least_uS:.3g}, the standard deviation of the mean of num_reads '
        f'= {options.num_reads} reads')
  last_s = longest_s(options)
  if last_s > duration_s:
    raise ValueError(
        f'max_rounds = {options.max_rounds}, delay_s = {options.delay_s}, '
        f'read_span_s = {options.read_span_s}: {last_s:.6g} s must not exceed '
        f'the {duration_s} s until the date of the target')


def longest_s(options: VerifyOptions) -> float:
  """Returns how long a verification may take, s."""
  return float(
      (options.max_rounds + 1) * (options.delay_s + options.read_span_s))
