"""Contracts of programming and writing: requests, results and counts.

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array


class Request(NamedTuple):
  """Request for a weight change of one layer."""

  delta_w: jax.Array  # [I, O], change of the arrays' weights
  encode_fn: Callable[[array.Crossbar, jax.Array], jax.Array]
  # (crossbar, delta_w) -> signed pulses [I, O], by the controller's table
  horizon_s: jax.Array  # from now to the date of the predictions


class Counts(NamedTuple):
  """Counts of a write, summed over devices."""

  pulses: jax.Array
  resets: jax.Array
  reads: jax.Array
  devices: jax.Array  # that got a pulse or a RESET


class Written(NamedTuple):
  """Result of a write."""

  crossbar: array.Crossbar
  counts: Counts
  elapsed_s: jax.Array  # duration of the write; the devices are older by it


# (key, device, noise_free, targets_uS [P, D, I, O], gain_per_uS)
#     -> (crossbar, Counts), at time 0
ProgramFn = Callable[
    [jax.Array, types.Device, types.Device, jax.Array, jax.Array],
    tuple[array.Crossbar, Counts]]
# (key, device, noise_free, crossbar, request) -> Written
WriteFn = Callable[
    [jax.Array, types.Device, types.Device, array.Crossbar, Request], Written]
# The same arguments; a refresh takes no time.
RefreshFn = Callable[
    [jax.Array, types.Device, types.Device, array.Crossbar, Request],
    'Refreshed']


class Refreshed(NamedTuple):
  """Result of a refresh."""

  crossbar: array.Crossbar
  request: Request  # with the change that is left, and its encoding
  touched: jax.Array  # [I, O], booleans: pairs of which a side was RESET
  reads: jax.Array  # scalar, of one device each
  known_uS: jax.Array | None  # [P, D, I, O], as read before it, where it read


def count(
    before: array.Crossbar, after: array.Crossbar, reads: jax.Array
) -> Counts:
  """Returns the counts of a write from the usage counts of the devices."""
  pulses, resets = (jax.lax.stop_gradient(b - a) for a, b in zip(
      before.usage, after.usage))
  touched = ((pulses != 0) | (resets != 0)).astype(jnp.float32)
  return Counts(pulses=jnp.sum(pulses), resets=jnp.sum(resets), reads=reads,
                devices=jnp.sum(touched))
