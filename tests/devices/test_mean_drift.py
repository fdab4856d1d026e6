"""The noise-free model drifts as devices of a spread of exponents do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import mean_drift
from meta_analog.devices import registry as device_registry
from tests.oracles import drift as oracle

SIZE = 200_000
TIMES_S = np.float32([251.0, 86400.0, 31536000.0])
PHASE_CHANGE = ['hermes', 'hermes_pair', 'pcm', 'pcm_like']
LAWS = {'cut': mean_drift.cut, 'folded': mean_drift.folded}
COMPILED = {name: jax.jit(law) for name, law in LAWS.items()}
each_law = pytest.mark.parametrize('law', sorted(LAWS))
SHALLOW = np.log(np.array([1e-3, 1.0, 38.6, 39.0, 251.0, 86400.0, 3.2e7, 3.2e8]
                          ) / 38.6)


# Closed form


@each_law
@pytest.mark.parametrize('nu', [0.0, 0.005, 0.04, 0.1, 0.5, -0.02])
@pytest.mark.parametrize('std', [1e-6, 1e-3, 0.01, 0.045, 0.3])
def test_the_closed_form_is_the_integral_over_exponents(law, nu, std):
  ours = COMPILED[law](jnp.float32(nu), jnp.float32(std), jnp.float32(SHALLOW))
  np.testing.assert_allclose(
      ours, [oracle.mean_share(nu, std, x, law) for x in SHALLOW], rtol=5e-6)


@pytest.mark.parametrize('lowest', [0.01, 0.06])
def test_exponents_are_cut_at_any_bound(lowest):
  ours = COMPILED['cut'](0.04, 0.02, jnp.float32(SHALLOW), lowest)
  np.testing.assert_allclose(
      ours, [oracle.mean_share(0.04, 0.02, x, lowest=lowest)
             for x in SHALLOW], rtol=5e-6)


@each_law
def test_without_a_spread_the_mean_is_the_power_law_bit_for_bit(law):
  nu, log_age = jnp.float32(0.04), jnp.float32(SHALLOW)
  for std in (0.0, 1e-9):
    np.testing.assert_array_equal(
        LAWS[law](nu, std, log_age), jnp.exp(-nu * log_age))


@functools.cache
def _slopes(law):
  return jax.jit(jax.vmap(
      jax.value_and_grad(LAWS[law], (0, 1, 2)), (None, None, 0)))


@each_law
@pytest.mark.parametrize('std', [0.0, 1e-9, 1e-7, 0.01, 3.0])
def test_the_mean_and_its_gradients_are_finite(law, std):
  slopes = _slopes(law)
  for nu in (0.0, 0.04, 1.0):
    for leaf in jax.tree.leaves(slopes(jnp.float32(nu), jnp.float32(std),
                                        jnp.float32(SHALLOW))):
      assert np.all(np.isfinite(leaf))


@each_law
def test_the_gradient_of_the_mean_is_that_of_the_integral(law):
  step = 1e-4
  values = [oracle.mean_share(0.01 + d, 0.02, 10.0, law)
            for d in (-step, step)]
  np.testing.assert_allclose(
      jax.grad(LAWS[law])(0.01, 0.02, 10.0), np.diff(values)[0] / (2 * step),
      rtol=1e-3)


# Devices


@functools.cache
def _conductance_fn(name, noise_free):
  """Returns (params, targets [L, N], whether RESET, pulses) -> uS [T, L, N]."""
  make = device_registry.make_noise_free if noise_free else device_registry.make

  def run(params, target_uS, erase, count):
    device = make(name, params, 4)
    keys = jax.random.split(jax.random.key(0), 3)
    state = device.program(keys[0], target_uS)
    state = device.reset(keys[1], state, jnp.broadcast_to(
        erase, target_uS.shape))
    state = device.pulse(keys[2], state, jnp.broadcast_to(
        count, target_uS.shape))
    return jax.vmap(lambda t: device.read_stats(state, t)[0])(TIMES_S)

  return jax.jit(run)


def _params(name, sources=('drift_spread',), **changes):
  """Returns parameters that have these sources of noise alone."""
  family = device_registry.FAMILIES[name]
  absent = {parameter: 0.0 for source, parameters in family.noise.items()
            if source not in sources for parameter in parameters}
  params = family.params(**{**absent, **changes})
  return jax.tree.map(jnp.float32, params)


def _errors(name, params, targets_uS, erase=False, count=0.0):
  """Returns mean of devices less the model, in standard errors [T, L]."""
  targets_uS = np.float32(targets_uS)
  sample = np.asarray(_conductance_fn(name, False)(params, jnp.broadcast_to(
      targets_uS[:, None], (len(targets_uS), SIZE)), erase, count), np.float64)
  known = np.asarray(_conductance_fn(name, True)(
      params, targets_uS, erase, count))
  error = sample.std(axis=-1) / np.sqrt(SIZE) + 1e-6 * known
  return (sample.mean(axis=-1) - known) / error


def _targets(name):
  params = device_registry.FAMILIES[name].params()
  return [0.0, 0.05 * params.g_max_uS, 0.4 * params.g_max_uS, params.g_max_uS]


@pytest.mark.parametrize('name', PHASE_CHANGE)
@pytest.mark.parametrize('scale', [1.0, 3.0])
def test_the_model_is_the_mean_of_devices_that_drift(name, scale):
  errors = _errors(name, _params(name, noise_scale=scale), _targets(name))
  assert np.all(np.abs(errors) < 4.0), errors


@pytest.mark.parametrize('name', PHASE_CHANGE)
def test_the_model_is_the_mean_of_devices_with_all_noise(name):
  sources = device_registry.FAMILIES[name].noise
  errors = _errors(name, _params(name, sources), _targets(name))
  assert np.all(np.abs(errors) < 4.0), errors


@pytest.mark.parametrize('name', PHASE_CHANGE)
@pytest.mark.parametrize('erase, count', [
    (True, 0.0), (True, 3.0), (False, 2.0)])
def test_the_model_is_the_mean_of_devices_that_drift_anew(
    name, erase, count):
  errors = _errors(name, _params(name, noise_scale=2.0), _targets(name), erase,
                   count)
  assert np.all(np.abs(errors) < 4.0), errors


@pytest.mark.parametrize('offset', [-0.03, 0.03])
def test_the_model_of_exponents_that_depend_on_the_state_is_the_mean(offset):
  # The mean at 5 uS is below or above nu_mean, which moves the cut.
  params = _params('pcm', noise_scale=3.0, nu_slope=1.0, nu_min=0.04 + offset,
                   nu_max=0.04 + offset)
  errors = _errors('pcm', params, _targets('pcm'))
  assert np.all(np.abs(errors) < 4.0), errors
