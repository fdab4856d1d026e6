"""Initial programming of a crossbar: by statistics, in open loop, or verified.

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.programming import controller
from meta_analog.programming import program_verify
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response
from meta_analog.programming import verify_options


def statistical(key, device, model, targets_uS, gain_per_uS):
  """A `protocols.ProgramFn`: the device's statistics, at time 0; no counts."""
  crossbar = array.program(key, device, model, targets_uS, gain_per_uS)
  return crossbar, protocols.Counts(*(jnp.float32(0.0),) * 4)


def verified_program(budget: verify_options.VerifyOptions, reference_s: float,
                     *, bidirectional: bool) -> protocols.ProgramFn:
  """Returns program-and-verify from RESET, by pairs, that ends by time 0.

  The differences are those of the targets, the common part of a pair is what
  the pulses leave. There is no gradient to the targets.

  Args:
    budget: see `verify_options.check`.
    reference_s: chip time that the differences are wanted for.
    bidirectional: whether the device takes negative pulses.

  Returns:
    A `protocols.ProgramFn`.
  """
  longest_s = verify_options.longest_s(budget)

  def program_fn(key, device, model, targets_uS, gain_per_uS):
    key_blank, key_verify = jax.random.split(key)
    wanted_uS = jax.lax.stop_gradient(controller.difference(targets_uS))
    fresh = blank(key_blank, device, model, targets_uS.shape, gain_per_uS)
    crossbar, info = program_verify.program_and_verify(
        key_verify, device, model, jax.lax.stop_gradient(fresh),
        program_verify.pairs(wanted_uS, bidirectional=bidirectional), budget,
        jnp.float32(longest_s + reference_s))
    crossbar = array.advance(
        device, model, crossbar, longest_s - info['elapsed_s'])
    counts = protocols.count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, info['num_reads'])
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def blank(
    key: jax.Array, device: types.Device, model: types.Device,
    shape: tuple[int, int, int, int], gain_per_uS: jax.Array
) -> array.Crossbar:
  """Returns a crossbar of fresh devices [P, D, I, O], all RESET just now."""
  key_make, key_reset = jax.random.split(key)
  crossbar = array.program(
      key_make, device, model, jnp.zeros(shape), gain_per_uS)
  return array.reset_devices(
      key_reset, device, model, crossbar, jnp.ones(shape, bool))


def open_loop(
    key: jax.Array, device: types.Device, model: types.Device,
    crossbar: array.Crossbar, wanted_uS: jax.Array, horizon_s: jax.Array, *,
    num_levels: int
) -> array.Crossbar:
  """Returns the crossbar after one train of pulses on each pair.

  Args:
    key: consumed.
    device: the technology; its maximum of pulses is at least num_levels / D.
    model: the technology without noise.
    crossbar: state, usually `blank`.
    wanted_uS: [I, O], differences sum_d G+ - sum_d G-.
    horizon_s: from now to the time that the differences are wanted for.
    num_levels: K, most pulses of one pair, static.

  Returns:
    New `Crossbar`.
  """
  believed_uS = controller.estimate(model, crossbar, horizon_s)
  missing_uS = wanted_uS - controller.difference(believed_uS)
  num_pulses = pulse_response.nearest_pulses(
      model, crossbar, crossbar.gain_per_uS * missing_uS, horizon_s, num_levels)
  return array.pulse(key, device, model, crossbar, num_pulses)
