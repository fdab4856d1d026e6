"""Phase-change memory in vectorised NumPy, the reference of the benchmarks.

The law of `devices.pcm`, written anew from its equations and with NumPy's own
generator. Program-and-verify of pairs is that of `program_verify`, for one
device per polarity.

Axes: P polarity (plus, minus), I in, O out.
"""

import math
from typing import NamedTuple

import numpy as np

from meta_analog.devices import pcm
from meta_analog.programming import verify_options


class Array(NamedTuple):
  """Devices; all fields have the same shape."""

  g_uS: np.ndarray  # conductance T0 after the last event
  memory: np.ndarray  # P
  age_s: np.ndarray  # since the last event
  nu: np.ndarray


def fresh(
    rng: np.random.Generator, p: pcm.PCMParams, shape: tuple[int, ...]
) -> Array:
  """Returns devices after RESET just now."""
  g_uS = p.g_reset_uS * (1.0 + p.reset_std * _normal(rng, shape))
  nu = np.maximum(p.nu_mean + p.nu_std * _normal(rng, shape), 0.0)
  return Array(np.clip(g_uS, p.g_reset_min_uS, p.g_max_uS),
               np.ones(shape, np.float32), np.zeros(shape, np.float32), nu)


def pulse(
    rng: np.random.Generator, p: pcm.PCMParams, array: Array
) -> Array:
  """Returns all devices after one SET pulse now; see `partial_set`."""
  memory = array.memory * math.exp(-1.0 / p.memory_pulses)
  mean_uS = p.m1 * array.g_uS + p.c1_uS + p.a1_uS * memory
  sigma_uS = p.m2 * array.g_uS + p.c2_uS + p.a2_uS * memory
  g_uS = array.g_uS + mean_uS + sigma_uS * _normal(rng, memory.shape)
  return array._replace(
      g_uS=np.clip(g_uS, p.g_min_uS, p.g_max_uS), memory=memory,
      age_s=np.zeros(memory.shape, np.float32))


def read(
    rng: np.random.Generator, p: pcm.PCMParams, array: Array, elapsed_s: float,
    relative_variance: float = 1.0
) -> np.ndarray:
  """Returns noisy conductances elapsed_s after now, uS.

  Args:
    rng: of all draws.
    p: of the device.
    array: devices.
    elapsed_s: from now to the read.
    relative_variance: share of the read variance that is drawn.

  Returns:
    Conductances of the array's shape.
  """
  age_s = np.maximum(array.age_s + elapsed_s, pcm.MIN_AGE_S)
  g_uS = array.g_uS * (age_s / p.t0_s) ** -array.nu
  sigma_uS = math.sqrt(relative_variance) * (p.m3 * g_uS + p.c3_uS)
  return g_uS + sigma_uS * _normal(rng, g_uS.shape)


def verify(
    rng: np.random.Generator, p: pcm.PCMParams, target_uS: np.ndarray,
    budget: verify_options.VerifyOptions, reference_s: float
) -> dict[str, float]:
  """Returns the result of program-and-verify of pairs from RESET.

  Args:
    rng: of all draws.
    p: of the device; step_std is not modelled and noise_scale is 1.
    target_uS: differences [I, O].
    budget: of `program_verify`.
    reference_s: from the start to the time of their targets.

  Returns:
    'pulses_per_pair', 'rounds' and 'converged', a share.
  """
  array = fresh(rng, p, (2, *target_uS.shape))
  closed = np.zeros(target_uS.shape, bool)
  pulses, resets = np.zeros(target_uS.shape), np.zeros(target_uS.shape)
  variance = (1.0 - budget.fresh_share) + budget.fresh_share / budget.num_reads
  measured_uS, error = np.zeros_like(array.g_uS), np.zeros_like(target_uS)
  level_uS = np.maximum(budget.level_uS, np.abs(target_uS))
  wait_s, elapsed_s = budget.delay_s + budget.read_span_s, 0.0
  for rounds in range(budget.max_rounds + 1):
    elapsed_s += wait_s
    array = array._replace(age_s=array.age_s + np.float32(wait_s))
    known = (1.0 + (reference_s - elapsed_s) / array.age_s) ** (
        -p.nu_mean * budget.drift_correction)
    measured_uS = np.where(
        closed, measured_uS, read(rng, p, array, 0.0, variance) * known)
    error = np.where(
        closed, error, target_uS - (measured_uS[0] - measured_uS[1]))
    closed |= np.abs(error) <= budget.tolerance_uS
    if closed.all() or rounds == budget.max_rounds:
      break
    up = np.stack([error > 0, error < 0])
    again = (up & (measured_uS > level_uS)).any(axis=0)
    again |= -np.sign(target_uS) * error > budget.overshoot_uS
    again &= resets < budget.max_resets
    open_ = ~closed & (pulses < budget.max_pulses)
    again, up = again & open_, up & open_ & ~again
    for mask, new in ((up, pulse(rng, p, array)),
                      (np.broadcast_to(again, up.shape),
                       fresh(rng, p, up.shape))):
      array = Array(np.where(mask, new.g_uS, array.g_uS),
                    np.where(mask, new.memory, array.memory),
                    np.where(mask, np.float32(0.0), array.age_s), array.nu)
    pulses += up.any(axis=0)
    resets += again
    closed |= ~(up.any(axis=0) | again)
  return {'pulses_per_pair': float(pulses.mean()), 'rounds': rounds,
          'converged': float(np.mean(np.abs(error) <= budget.tolerance_uS))}


def _normal(rng, shape):
  return rng.standard_normal(shape, np.float32)
