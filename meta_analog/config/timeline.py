"""Times of a deployment, in seconds of the chip's clock, from a config."""

import ml_collections

from meta_analog.learning import learner
from meta_analog.programming import verify_options


def last_write_s(config: ml_collections.ConfigDict) -> float:
  """Returns the chip time of the last adaptation event's write, s."""
  return (config.adapt.t_prog_s
          + (config.adapt.num_events - 1) * config.adapt.event_interval_s)


def settle_limit_s(config: ml_collections.ConfigDict) -> float:
  """Returns the time from the last write's start to what comes next, s.

  The next event, or the earliest date of a query or a test: what is measured
  after it cannot serve it.
  """
  adapt = config.adapt
  first_s = min(config.training.t_query_s, config.evaluation.t_test_s,
                *config.evaluation.after_s)
  limit_s = first_s - last_write_s(config)
  if adapt.num_events > 1:
    delay_s = adapt.t_prog_s - adapt.t_read_s
    limit_s = min(limit_s, adapt.event_interval_s - delay_s)
  return limit_s


def make_times(config: ml_collections.ConfigDict) -> learner.Times:
  """Returns when a chip is calibrated, written and read for a query."""
  c = config.adapt
  delay_s = c.t_prog_s - c.t_read_s
  duration_s = 0.0
  if c.write == 'verified':
    duration_s = verify_options.longest_s(
        verify_options.VerifyOptions(**config.verification))
  # Calibrated at the latest when the next event or the first test begins.
  limit_s = settle_limit_s(config)
  return learner.Times(
      calibrate_s=config.crossbar.calibrate_after_s, write_delay_s=delay_s,
      write_duration_s=duration_s,
      settle_s=min(config.crossbar.calibrate_after_s, limit_s - duration_s),
      reference=config.training.t_query_s)
