"""Refresh: RESET of pairs whose devices are near their highest conductance.

SET only adds, so a pair that is pulsed on both sides runs out of headroom. Two
rules, with conductances as means over the D devices of a polarity:

    threshold      max(G+, G-) > level and |G+ - G-| < difference:
                   RESET both, write G+ - G- anew on one side
    update ready   |delta G| > ceiling - G of the side to be potentiated:
                   RESET the other side, write the rest to G+ - G- + delta G

The decision is by what a controller may know (`controller.estimated_uS` or
`controller.measure`, the mean of noisy reads), never by the true state.

Source: Demirag et al., 2021 (arXiv:2108.01804); levels per device as in its
public implementation (srnn-pcm, xbar.py), which reads the state perfectly and
forgets that a RESET restarts the drift; neither is repeated here.

Axes: P polarity (plus, minus), D device, I in, O out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.programming import controller
from meta_analog.programming import pulse_response


class Threshold(NamedTuple):
  """The threshold rule, in uS per device."""

  level_uS: jax.Array | float = 9.0
  difference_uS: jax.Array | float = 4.5


class UpdateReady(NamedTuple):
  """The update-ready rule, in uS per device."""

  ceiling_uS: jax.Array | float = 10.0


def check(level_uS: float, difference_uS: float, ceiling_uS: float,
          g_max_uS: float) -> None:
  """Checks that a rule sometimes acts and sometimes does not.

  Args:
    level_uS: of `Threshold`.
    difference_uS: of `Threshold`.
    ceiling_uS: of `UpdateReady`.
    g_max_uS: highest state of the device.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for name, value in (('level_uS', level_uS), ('ceiling_uS', ceiling_uS),
                      ('difference_uS', difference_uS)):
    if not 0.0 < value <= g_max_uS:
      raise ValueError(f'{name} = {value}: must be greater than 0 and at most '
                       f'g_max_uS ({g_max_uS})')
  if difference_uS > level_uS:
    raise ValueError(f'difference_uS = {difference_uS}: must be at most '
                     f'level_uS ({level_uS})')


def by_threshold(
    key: jax.Array,
    device: types.Device,
    noise_free: types.Device,
    crossbar: array.Crossbar,
    known_uS: jax.Array,
    rule: Threshold,
    horizon_s: jax.Array,
    *,
    num_levels: int,
) -> tuple[array.Crossbar, types.Info]:
  """Returns the crossbar after the threshold rule.

  The difference that a pair had is written anew in open loop, by the number of
  pulses whose mean effect comes nearest; a verification may follow.

  Args:
    key: consumed.
    device: the technology.
    noise_free: the technology without noise.
    crossbar: state.
    known_uS: [P, D, I, O], what the controller knows now.
    rule: levels.
    horizon_s: from now to the date of the predictions.
    num_levels: K, most pulses that write a pair anew, static.

  Returns:
    New `Crossbar`, and 'refreshed' [I, O], booleans, 'num_pulses' [I, O].
  """
  key_reset, key_pulse = jax.random.split(key)
  mean_uS = jnp.mean(known_uS, axis=1)
  near_top = jnp.max(mean_uS, axis=0) > rule.level_uS
  close = jnp.abs(mean_uS[0] - mean_uS[1]) < rule.difference_uS
  refreshed = near_top & close
  drift = controller.known_drift(noise_free, crossbar, horizon_s)
  drifted_uS = known_uS * drift
  target_w = crossbar.gain_per_uS * controller.difference(drifted_uS)
  crossbar = array.reset_devices(
      key_reset, device, noise_free, crossbar,
      jnp.broadcast_to(refreshed, known_uS.shape))
  num_pulses = jnp.where(refreshed, pulse_response.nearest_pulses(
      noise_free, crossbar, target_w, horizon_s, num_levels), 0.0)
  crossbar = array.pulse(key_pulse, device, noise_free, crossbar, num_pulses)
  return crossbar, {'refreshed': refreshed, 'num_pulses': num_pulses}


def by_update_ready(
    key: jax.Array,
    device: types.Device,
    noise_free: types.Device,
    crossbar: array.Crossbar,
    known_uS: jax.Array,
    delta_w: jax.Array,
    rule: UpdateReady,
    horizon_s: jax.Array,
) -> tuple[array.Crossbar, jax.Array, types.Info]:
  """Returns the crossbar with headroom for a change, and the change to write.

  Args:
    key: consumed.
    device: the technology.
    noise_free: the technology without noise.
    crossbar: state.
    known_uS: [P, D, I, O], what the controller knows now.
    delta_w: [I, O], required change of the weights.
    rule: levels.
    horizon_s: from now to the date of the predictions.

  Returns:
    New `Crossbar`; the change [I, O] from the estimate of the pair after RESET
    to its target, delta_w itself where there was headroom; and 'refreshed'
    [P, I, O], booleans.
  """
  num_devices = known_uS.shape[1]
  total_uS = jnp.sum(known_uS, axis=1)
  headroom_uS = num_devices * rule.ceiling_uS - total_uS
  change_uS = delta_w / crossbar.gain_per_uS
  lacks_headroom = jnp.stack(
      [change_uS > headroom_uS[0], -change_uS > headroom_uS[1]])
  refreshed = lacks_headroom[::-1]  # the side that is not potentiated
  drifted_uS = known_uS * controller.known_drift(
      noise_free, crossbar, horizon_s)
  crossbar = array.reset_devices(
      key, device, noise_free, crossbar,
      jnp.broadcast_to(refreshed[:, None], known_uS.shape))
  low_uS = controller.estimated_uS(noise_free, crossbar, horizon_s)
  after_uS = jnp.where(refreshed[:, None], low_uS, drifted_uS)
  moved_uS = controller.difference(after_uS) - controller.difference(drifted_uS)
  remaining = delta_w - crossbar.gain_per_uS * moved_uS
  return crossbar, remaining, {'refreshed': refreshed}
