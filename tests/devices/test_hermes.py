"""The 14 nm chip against its published curves, for one and two devices.

What the chip shares with the older model, the skeleton of `ibm_statistical`, is
tested in test_pcm_like*.py; here, what differs.
"""


import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import hermes
from meta_analog.devices import registry as device_registry
from tests.helpers import compiled_device
from tests.oracles import device as oracle
from tests.oracles import ibm

SIZE = 65536
ONE = hermes.HermesParams()
PAIR = hermes.pair_params()
BOTH = [(1, ONE, 10.35, 200.0), (2, PAIR, 20.7, 300.0)]
T_READ_S = 512e-9
each_cell = pytest.mark.parametrize(
    'num_devices, params, g_max, t0_s', BOTH, ids=['one', 'pair'])
# On both sides of every break point and clip of either set.
R = [0.0, 1e-3, 0.0096, 0.0097, 0.02, 0.0285, 0.0300, 0.0605, 0.094, 0.095,
     0.12, 0.1585, 0.1595, 0.1605, 0.2, 0.29, 0.303, 0.3045, 0.306, 0.5, 0.8,
     1.0]
_program, _pulse, _reset, _read, _read_stats = compiled_device.functions(
    hermes.make, 5)


@jax.jit
def _curves(params, r):
  return tuple(curve(jnp.maximum(r, 1e-7)) for curve in hermes.curves(params))


@jax.jit
def _slopes(params, r):
  return tuple(jax.vmap(jax.grad(curve))(jnp.maximum(r, 1e-7))
               for curve in hermes.curves(params))


# Coefficients


@each_cell
def test_the_curves_are_the_published_ones(num_devices, params, g_max, t0_s):
  got = _curves(params, jnp.array(R))
  for i, r in enumerate(R):
    expected = (ibm.hermes_program_sigma(r * g_max, num_devices),
              *ibm.hermes_nu(r, num_devices), ibm.hermes_q(r, num_devices))
    np.testing.assert_allclose([curve[i] for curve in got], expected, rtol=1e-4,
                               err_msg=str(r))


@pytest.mark.parametrize('params, expected', [
    # By hand from the tables, r = 0.05, 0.2, 1.
    (ONE, [[0.268718, 0.541689, 1.007567],
           [0.0977343, 0.069336, 0.0174],
           [0.0336488, 0.0170133, 0.0055],
           [0.0271667, 0.0192832, 0.0168]]),
    (PAIR, [[0.381319, 0.807922, 1.092716],
            [0.0977343, 0.069336, 0.0174],
            [0.02935, 0.0131304, 0.0048],
            [0.02815, 0.0154552, 0.0123]])], ids=['one', 'pair'])
def test_the_curves_have_their_values_by_hand(params, expected):
  got = _curves(params, jnp.array([0.05, 0.2, 1.0]))
  np.testing.assert_allclose(got, expected, rtol=2e-4)


def test_the_exponent_falls_to_the_end_where_the_older_model_saturates():
  nu_mean = _curves(ONE, jnp.array([0.2, 0.5, 1.0]))[1]
  assert nu_mean[0] > nu_mean[1] > nu_mean[2]
  np.testing.assert_allclose(nu_mean[2], 0.0174, rtol=1e-5)


def test_two_devices_are_not_one_with_twice_the_range():
  stretched = ONE._replace(g_max_uS=20.7)
  r = jnp.array([0.05, 0.5, 0.9])
  for a, b in zip(_curves(PAIR, r)[::2], _curves(stretched, r)[::2]):
    assert np.all(np.abs(a / b - 1) > 0.05)


@each_cell
def test_programming_error_scales_with_the_range(
    num_devices, params, g_max, t0_s):
  half = params._replace(g_max_uS=g_max / 2)
  np.testing.assert_allclose(
      _curves(half, jnp.array(R))[0],
      [ibm.hermes_program_sigma(r * g_max, num_devices) / 2 for r in R],
      rtol=1e-4)


@each_cell
def test_curves_have_finite_slopes_at_every_break(
    num_devices, params, g_max, t0_s):
  r = jnp.array([*R, params.nu_mean_break, params.nu_std_break,
                 params.read_break])
  for slope in _slopes(params, r):
    assert np.all(np.isfinite(slope))


# The device


@each_cell
@pytest.mark.parametrize('share', [0.0, 0.05, 0.3, 1.0])
def test_programmed_devices_have_the_published_moments(
    num_devices, params, g_max, t0_s, share):
  # 65536 devices: 6 errors are 1.7 % of a std.
  g = share * g_max
  # The publication programs the target 0 like any other.
  params = params._replace(g_reset_uS=0.0)
  state = _program(jax.random.key(1), params, jnp.full(SIZE, g))
  mean, std, _ = ibm.clipped_normal(
      g, ibm.hermes_program_sigma(g, num_devices))
  oracle.assert_moments(state.g_uS, mean, std)
  nu_mean, nu_std = ibm.hermes_nu(share, num_devices)
  drawn = np.abs(nu_mean + nu_std * np.random.default_rng(0).normal(
      size=10**6))
  oracle.assert_moments(state.nu, drawn.mean(), drawn.std())
  np.testing.assert_allclose(
      state.read_q, np.full(SIZE, ibm.hermes_q(share, num_devices)), rtol=1e-4)


@each_cell
@pytest.mark.parametrize('age', [0.0, 86400.0])
def test_reads_have_the_published_drift_and_noise(
    num_devices, params, g_max, t0_s, age):
  quiet = params._replace(noise_scale=0.0)
  r = [0.01, 0.2, 0.9]
  state = _program(jax.random.key(0), quiet, g_max * jnp.array(r))
  mean, sigma = _read_stats(params, state, age)
  for i, share in enumerate(r):
    nu = ibm.hermes_nu(share, num_devices)[0]
    drifted = ibm.drift(share * g_max, nu, age, t0_s)
    noise = ibm.read_sigma(drifted, ibm.hermes_q(share, num_devices), age,
                           t0_s, T_READ_S)
    np.testing.assert_allclose((mean[i], sigma[i]), (drifted, noise),
                               rtol=1e-4)


def test_the_two_polarities_of_a_pair_cell_keep_noise_of_their_own():
  target = jnp.stack([jnp.full(SIZE, 12.0), jnp.zeros(SIZE)])
  state = _program(
      jax.random.key(5), PAIR._replace(g_reset_uS=0.0), target)
  plus, minus = state.g_uS
  oracle.assert_uncorrelated(plus, minus)
  oracle.assert_uncorrelated(state.nu[0], state.nu[1])
  zero = ibm.clipped_normal(0.0, ibm.hermes_program_sigma(0.0, 2))
  sigma = ibm.hermes_program_sigma(12.0, 2)
  oracle.assert_moments(plus - minus, 12.0 - zero[0], np.hypot(sigma, zero[1]))


@pytest.mark.parametrize('name, g_max, t0_s', [
    ('hermes', 10.35, 200.0), ('hermes_pair', 20.7, 300.0)])
def test_a_config_names_one_or_two_devices(name, g_max, t0_s):
  values = device_registry.default_params()[name]
  assert (values['g_max_uS'], values['t0_s']) == (g_max, t0_s)
  assert values['read_noise_from'] == 'target'
  device = device_registry.make(name,
                                device_registry.FAMILIES[name].params(**values),
                                4)
  state = device.program(jax.random.key(0), jnp.full(3, 30.0))
  assert np.all(np.abs(state.g_uS - g_max) < 6.0)


@hypothesis.given(seed=st.integers(0, 2**31 - 1),
                  scale=st.floats(0, 20, width=32),
                  g=st.floats(-5, 30, width=32), pair=st.booleans(),
                  source=st.sampled_from([0.0, 1.0]))
def test_states_stay_finite_and_stds_not_negative(
    seed, scale, g, pair, source):
  params = (PAIR if pair else ONE)._replace(
      noise_scale=scale, read_noise_from=source)
  state = _program(jax.random.key(seed), params, jnp.full(3, g))
  state = _pulse(jax.random.key(seed), params, state,
                 jnp.array([0.0, 1.0, 5.0]))
  mean, sigma = _read_stats(params, state, 100.0)
  for field in (*state, mean, sigma):
    assert np.all(np.isfinite(field))
  assert np.all(state.g_uS >= 0) and np.all(sigma >= 0)


@each_cell
def test_pulses_and_reset_are_scaled_to_the_range(
    num_devices, params, g_max, t0_s):
  quiet = params._replace(noise_scale=0.0)
  state = _program(jax.random.key(0), quiet, jnp.full(3, 3.0))
  np.testing.assert_array_equal(state.pulse_memory, np.zeros(3))
  everywhere = jnp.ones(3, bool)
  low = _reset(jax.random.key(1), quiet, state, everywhere)
  np.testing.assert_allclose(low.g_uS, np.full(3, 0.1 * g_max / 12), rtol=1e-5)
  for start, memory in ((state, 0.0), (low, 1.0)):
    after = _pulse(jax.random.key(2), quiet, start, jnp.full(3, 5.0))
    path, memories = ibm.set_train(float(start.g_uS[0]), memory, 5, g_max)
    np.testing.assert_allclose(after.g_uS, np.full(3, path[-1]), rtol=1e-5)
    np.testing.assert_allclose(after.pulse_memory, np.full(3, memories[-1]),
                               rtol=1e-5)


@each_cell
def test_one_step_and_reset_have_the_scaled_stds(
    num_devices, params, g_max, t0_s):
  free = params._replace(g_min_uS=-1e4)
  state = _program(jax.random.key(0), free._replace(noise_scale=0.0),
                   jnp.full(SIZE, 0.2 * g_max))
  for memory in (0.0, 1.0):
    after = _pulse(
        jax.random.key(1), free, state._replace(
            pulse_memory=jnp.full(SIZE, memory)), jnp.ones(SIZE),
        max_pulses=1)
    mean, sigma = ibm.set_step(0.2 * g_max, memory * np.exp(-1 / 2.6), g_max)
    top, std, _ = ibm.clipped_normal(0.8 * g_max - mean, sigma)
    oracle.assert_moments(g_max - after.g_uS, top, std)
  low = _reset(jax.random.key(2), params, state, jnp.ones(SIZE, bool))
  oracle.assert_moments(low.g_uS, 0.1 * g_max / 12, 0.01 * g_max / 12)


@each_cell
def test_gradients_to_the_target_are_finite_everywhere(
    num_devices, params, g_max, t0_s):
  target = g_max * jnp.array([-0.1, 1.2, *R])

  def run(target_uS):
    state = _program(jax.random.key(0), params, target_uS)
    return jnp.sum(_read(jax.random.key(1), params, state, 1e4))

  assert np.all(np.isfinite(jax.grad(run)(target)))
