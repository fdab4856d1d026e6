"""Initial programming of a crossbar: statistical, open-loop or verified.

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import slow_noise
from meta_analog.programming import controller
from meta_analog.programming import program_verify
from meta_analog.programming import protocols
from meta_analog.programming import pulse_response
from meta_analog.programming import verify_options


def statistical(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    targets_uS: jax.Array, gain_per_uS: jax.Array
) -> tuple[array.Crossbar, protocols.Counts]:
  """Statistical programming, a `protocols.ProgramFn` without counts."""
  crossbar = array.program(key, device, noise_free, targets_uS, gain_per_uS)
  return crossbar, protocols.Counts(*(jnp.float32(0.0),) * 4)


def verified_program(options: verify_options.VerifyOptions, reference_s: float,
                     *, bidirectional: bool, slow: bool = False
                     ) -> protocols.ProgramFn:
  """Returns program-and-verify of pairs from RESET, which ends at time 0.

  Differences of pairs are verified, not their common part. There is no gradient
  with respect to the targets.

  Args:
    options: see `verify_options.check`.
    reference_s: date of the target differences, s after 0.
    bidirectional: whether the device takes negative pulses.
    slow: whether reads share slow noise, see `crossbar.slow_noise`.

  Returns:
    A `protocols.ProgramFn`.
  """
  longest_s = verify_options.longest_s(options)

  def program_fn(key, device, noise_free, targets_uS, gain_per_uS):
    key_blank, key_verify = jax.random.split(key)
    target_uS = jax.lax.stop_gradient(controller.difference(targets_uS))
    fresh = blank(key_blank, device, noise_free, targets_uS.shape, gain_per_uS,
                  slow=slow)
    crossbar, info = program_verify.program_and_verify(
        key_verify, device, noise_free, jax.lax.stop_gradient(fresh),
        program_verify.pairs(target_uS, bidirectional=bidirectional), options,
        jnp.float32(longest_s + reference_s))
    crossbar = array.advance(
        device, noise_free, crossbar, longest_s - info['elapsed_s'])
    counts = protocols.count(
        jax.tree.map(jnp.zeros_like, crossbar), crossbar, info['num_reads'])
    return crossbar._replace(gain_per_uS=gain_per_uS), counts

  return program_fn


def blank(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    shape: tuple[int, int, int, int], gain_per_uS: jax.Array, *,
    slow: bool = False
) -> array.Crossbar:
  """Returns a crossbar of new devices [P, D, I, O], all RESET just now.

  Args:
    key: consumed.
    device: the technology.
    noise_free: the technology without noise.
    shape: of the devices.
    gain_per_uS: scalar.
    slow: whether its reads share slow noise, see `crossbar.slow_noise`.

  Returns:
    A `Crossbar`.
  """
  key_make, key_reset, key_slow = jax.random.split(key, 3)
  crossbar = array.program(
      key_make, device, noise_free, jnp.zeros(shape, jnp.float32), gain_per_uS)
  if slow:
    crossbar = crossbar._replace(slow=slow_noise.start(key_slow, shape))
  return array.reset_devices(
      key_reset, device, noise_free, crossbar, jnp.ones(shape, bool))


def open_loop(
    key: jax.Array, device: types.Device, noise_free: types.Device,
    crossbar: array.Crossbar, target_uS: jax.Array, horizon_s: jax.Array, *,
    num_levels: int
) -> array.Crossbar:
  """Returns the crossbar after one train of pulses on each pair.

  Args:
    key: consumed.
    device: the technology; its maximum of pulses is at least num_levels / D.
    noise_free: the technology without noise.
    crossbar: state, usually `blank`.
    target_uS: [I, O], differences sum_d G+ - sum_d G-.
    horizon_s: from now to the date of the target differences.
    num_levels: K, most pulses of one pair, static.

  Returns:
    New `Crossbar`.
  """
  estimated_uS = controller.estimated_uS(noise_free, crossbar, horizon_s)
  delta_uS = target_uS - controller.difference(estimated_uS)
  num_pulses = pulse_response.nearest_pulses(
      noise_free, crossbar, crossbar.gain_per_uS * delta_uS, horizon_s,
      num_levels)
  return array.pulse(key, device, noise_free, crossbar, num_pulses)
