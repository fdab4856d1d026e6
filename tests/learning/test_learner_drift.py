"""Drift compensation in the analog spiking network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import periphery
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.programming import protocols
from tests.helpers import small_learner
from tests.helpers import small_networks as small

T_READ_S = small_learner.T_READ_S
support = small_learner.support
WIDE = periphery.Periphery(adc_range=100.0)


def test_compensation_undoes_a_common_drift_exactly():
  # nu is the same for all devices, and the factor is its inverse.
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  factor = lambda age_s: (age_s / params.t0_s) ** params.nu_mean
  learner = small.make(
      small.pcm_pair(params),
      small.network(compensation='clock', clock=factor))
  state = jax.jit(learner.init)(jax.random.key(0), small.theta())
  predict = jax.jit(learner.predict)
  early, late = (
      predict(jax.random.key(1), state, support().x, time_s)[0]
      for time_s in (jnp.float32(params.t0_s), jnp.float32(1e6)))
  np.testing.assert_allclose(late, early, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('name', ['global', 'column'])
def test_a_measured_compensation_undoes_a_common_drift(name):
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  learner = small.make(small.pcm_pair(params), small.network(
      periphery=WIDE, compensation=name))
  state = jax.jit(learner.init)(jax.random.key(0), small.theta())
  early, late = (
      jax.jit(learner.predict)(
          jax.random.key(1), state, support().x, jnp.float32(time_s))[0]
      for time_s in (small.TIMES.calibrate_s, 1e6))
  assert np.all(np.isfinite(early)) and np.any(early != 0)
  np.testing.assert_allclose(late, early, rtol=1e-3, atol=1e-3)


def of_clock(compensation, write_fn=None, **times):
  """Returns the state after an update, by a mean law that goes with age."""
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  network = small.network(
      fresh_share=0, periphery=WIDE, compensation=compensation,
      clock=lambda age_s: age_s ** 0.04)
  hardware = chip.Hardware(*small.pcm_pair(params), network)
  if write_fn is not None:
    hardware = hardware._replace(write_fn=write_fn)
  learner = learner_lib.make(
      hardware, update_rules.make(
          rule='delta', encoding='nearest', update_bits=4),
      small.TIMES._replace(**times))
  state = jax.jit(learner.init)(jax.random.key(0), small.theta())
  state, _ = jax.jit(learner.update)(
      jax.random.key(1), state, support(), T_READ_S)
  return jax.block_until_ready(state)


def test_changes_are_scaled_by_the_factor_of_the_date_of_predictions():
  changes = []

  def write_fn(key, device, noise_free, crossbar, request):
    jax.debug.callback(
        lambda delta_w: changes.append(np.asarray(delta_w)), request.delta_w)
    return protocols.Written(
        crossbar, protocols.Counts(*(jnp.float32(0.0),) * 4), jnp.float32(0.0))

  for reference in (151.0, 1e6):
    of_clock('clock', write_fn, reference=reference)
    jax.effects_barrier()
  assert np.any(changes[0] != 0)
  np.testing.assert_allclose(
      changes[1], changes[0] * (1e6 / 151.0) ** -0.04, rtol=1e-4)


def test_the_calibration_after_a_write_waits_for_its_end():
  levels = [of_clock('global', write_duration_s=duration_s
                     ).chip.baselines[-1].level for duration_s in (0.0, 1e5)]
  np.testing.assert_allclose(
      levels[1] / levels[0], ((101.0 + 1e5 + 5.0) / 106.0) ** 0.04, rtol=1e-4)


def test_a_write_is_not_taken_for_drift():
  # Without drift or noise no factor may arise, whatever is written.
  params = small.pcm.PCMParams(nu_mean=0.0, nu_std=0.0, noise_scale=0.0)
  outputs = []
  for name in ('none', 'column'):
    learner = small.make(small.pcm_pair(params), small.network(
        periphery=WIDE, compensation=name))
    state = jax.jit(learner.init)(jax.random.key(0), small.theta())
    state, info = jax.jit(learner.update)(
        jax.random.key(1), state, support(), T_READ_S)
    assert info['write']['pulses'] > 0
    outputs.append(jax.jit(learner.predict)(
        jax.random.key(2), state, support().x, jnp.float32(251.0))[0])
  np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
