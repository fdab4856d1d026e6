"""An exact write: the wanted change itself, for a float reference.

    G+ <- G+ + max(dW, 0) / (gain D),   G- <- G- + max(-dW, 0) / (gain D)

without pulses, rounding, noise or limits: what a rule of adaptation reaches
where the devices cost nothing. Only a device without noise, drift and history
can be shifted so (`ideal.shift`).

Axes: P polarity (plus, minus), D device, I in (bias included), O out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from meta_analog import crossbar as xbar
from meta_analog import synapse
from meta_analog import writing

# (device state, change_uS [P, D, I, O]) -> device state
ShiftFn = Callable[[Any, jax.Array], Any]


def write(shift_fn: ShiftFn) -> writing.WriteFn:
  """Returns the exact write; its gradient to the wanted change is exact too.

  It counts the devices that change, and no pulses, RESETs or reads.

  Args:
    shift_fn: adds to the conductances of the device, such as `ideal.shift`.

  Returns:
    A `writing.WriteFn`.
  """
  def write_fn(key, device, model, crossbar, request):
    del key, device, model
    change_uS = _changes_uS(crossbar, request.delta_w)
    new = crossbar._replace(
        devices=shift_fn(crossbar.devices, change_uS),
        model=shift_fn(crossbar.model, jax.lax.stop_gradient(change_uS)))
    zero = jnp.float32(0.0)
    written = jnp.sum((change_uS != 0).astype(jnp.float32))
    return new, writing.Counts(zero, zero, zero, written)

  return write_fn


def _changes_uS(crossbar: xbar.Crossbar, delta_w: jax.Array) -> jax.Array:
  """Returns what is added to each device, [P, D, I, O]."""
  shape = crossbar.wear.num_pulses.shape
  each_uS = delta_w / (crossbar.gain_per_uS * shape[1])
  sides_uS = jnp.stack([synapse.positive(each_uS), synapse.positive(-each_uS)])
  return jnp.broadcast_to(sides_uS[:, None], shape)
