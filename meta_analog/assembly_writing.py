"""From a checked config to the ways of programming and writing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections

from meta_analog import budgets
from meta_analog import descent_program
from meta_analog import devices
from meta_analog import exact
from meta_analog import periphery as peri
from meta_analog import programming
from meta_analog import refresh
from meta_analog import writing
from meta_analog.devices import ideal


def make_write(config: ml_collections.ConfigDict) -> writing.WriteFn:
  """Returns the way to write a weight change.

  Args:
    config: checked.
  """
  c, budget = config.adapt, budgets.Budget(**config.verification)
  if c.write == 'exact':
    return exact.write(ideal.shift)
  refreshes = {
      'none': lambda: writing.no_refresh,
      'threshold': lambda: writing.threshold_refresh(
          refresh.Threshold(c.refresh_level_uS, c.refresh_difference_uS),
          num_reads=budget.num_reads, fresh_share=budget.fresh_share,
          num_levels=c.refresh_pulses),
      'update_ready': lambda: writing.update_ready_refresh(
          refresh.UpdateReady(c.refresh_ceiling_uS),
          num_reads=budget.num_reads, fresh_share=budget.fresh_share,
          num_levels=c.refresh_pulses)}
  refresh_fn = refreshes[c.refresh]()
  if c.write == 'open_loop':
    return writing.open_loop(refresh_fn)
  return writing.verified(
      budget, refresh_fn,
      bidirectional=devices.FAMILIES[config.device].bidirectional)


def make_program(
    config: ml_collections.ConfigDict, testing: bool,
    clock: Callable[[jax.Array], jax.Array]
) -> writing.ProgramFn:
  """Returns the way to program a chip; training takes the statistics.

  Pulses and reads make the differences that a target has drifted to, by the
  mean law, when the chip is first calibrated.

  Args:
    config: checked.
    testing: whether test chips are made.
    clock: age, s, to the factor that undoes the mean drift of a device.
  """
  if not testing or config.evaluation.programming == 'statistical':
    return writing.statistical
  reference_s = config.crossbar.calibrate_after_s
  if config.evaluation.programming == 'verified':
    program_fn = writing.verified_program(
        budgets.Budget(**config.verification), reference_s,
        bidirectional=devices.FAMILIES[config.device].bidirectional)
  else:
    c = config.descent
    program_fn = descent_program.make(
        programming.Descent(c.decay, c.threshold, c.interval_s),
        peri.Periphery(**config.periphery), config.crossbar.span_uS,
        config.crossbar.fresh_read_share, reference_s,
        num_iterations=c.num_iterations, num_inputs=c.num_inputs,
        num_levels=c.num_levels)
  share = 1.0 / clock(jnp.float32(reference_s))
  return lambda key, device, model, targets_uS, gain_per_uS: program_fn(
      key, device, model, share * targets_uS, gain_per_uS)
