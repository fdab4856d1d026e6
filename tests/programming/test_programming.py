"""Tests of open-loop programming and of gradient descent on products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.crossbar import array
from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import gradient_programming
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify
from meta_analog.programming import verify_options

SHAPE = (2, 1, 24, 24)  # P, D, I, O
GAIN = 0.3
HORIZON_S = jnp.float32(200.0)  # from the start to the time of predictions
DESCENT = gradient_programming.Descent()
TARGET_uS = np.random.default_rng(0).uniform(-9, 9, SHAPE[2:]).astype('f')


def pair_of(params, max_pulses=1):
  return (pcm.make(params, max_pulses=max_pulses),
          pcm.make(params._replace(noise_scale=0.0), max_pulses=max_pulses))


def rms(x):
  return float(np.sqrt(np.mean(np.square(x))))


@jax.jit
def true_error(params, crossbar, elapsed_s=0.0):
  """Returns what nobody on the chip sees: the error of the mean."""
  device = pair_of(params)[0]
  mean_uS = device.read_stats(crossbar.devices, HORIZON_S - elapsed_s)[0]
  return TARGET_uS - controller.difference(mean_uS)


@jax.jit
def _open_loop(key, params):
  pair = pair_of(params, max_pulses=20)
  keys = jax.random.split(key)
  crossbar = initial_programming.blank(keys[0], *pair, SHAPE, GAIN)
  return crossbar, initial_programming.open_loop(
      keys[1], *pair, crossbar, jnp.asarray(TARGET_uS), HORIZON_S,
      num_levels=20)


@functools.cache
def opened(noise_scale=1.0):
  """Returns a blank crossbar, the same in open loop, and the true error."""
  params = pcm.PCMParams(noise_scale=noise_scale)
  blank, crossbar = _open_loop(jax.random.key(0), params)
  return blank, crossbar, true_error(params, crossbar)


@functools.partial(jax.jit, static_argnames=('num_inputs',))
def _descend(key, params, descent, crossbar, num_inputs=64):
  pair = pair_of(params)
  crossbar = array.advance(*pair, crossbar, 1.0)
  crossbar, info = gradient_programming.gradient_descent(
      key,
      *pair,
      crossbar,
      GAIN * TARGET_uS,
      gradient_programming.bare_products(pair[0]),
      descent,
      HORIZON_S - 1.0,
      num_iterations=60,
      num_inputs=num_inputs)
  elapsed_s = 1.0 + 60 * descent.interval_s
  return crossbar, info, true_error(params, crossbar, elapsed_s)


@functools.cache
def descended(descent=DESCENT, noise_scale=1.0):
  params = pcm.PCMParams(noise_scale=noise_scale)
  return _descend(jax.random.key(1), params, descent, opened(noise_scale)[1])


def product_error(error_uS):
  """Returns the relative error of products with white inputs."""
  return rms(error_uS) / rms(TARGET_uS)


# Open loop.


def test_a_blank_chip_is_reset():
  crossbar = opened()[0]
  assert np.all(crossbar.devices.g_uS < 0.2)
  assert np.all(crossbar.devices.pulse_memory == 1.0)
  assert np.all(crossbar.usage.num_resets == 1.0)
  assert np.all(crossbar.estimate.pulse_memory == 1.0)
  assert np.std(crossbar.devices.nu) > 0


def test_open_loop_is_right_to_half_a_step_without_noise():
  # The largest step is the first, 1.83 uS at its own time.
  assert np.all(np.abs(opened(noise_scale=0.0)[2]) < 0.93)


def test_open_loop_error_is_that_of_the_pulses():
  # 8 pulses from RESET end 2.4 uS apart (physics of the reference figure).
  assert 1.5 < rms(opened()[2]) < 3.0


def test_open_loop_pulses_the_side_of_the_sign():
  plus, minus = np.asarray(opened()[1].devices.num_pulses)[:, 0]
  assert not np.any(plus[TARGET_uS < 0]) and not np.any(minus[TARGET_uS > 0])
  assert np.all((plus + minus)[np.abs(TARGET_uS) > 2.0] > 0)


# Gradient descent on products.


def test_descent_lowers_the_error_of_products():
  _, info, error_uS = descended()
  start, end = opened()[2], info['error'][-1]
  # What was measured is what is true, plus the noise of the reads.
  assert abs(info['error'][0] - product_error(start)) < 0.15
  assert end < 0.75 * info['error'][0]
  assert product_error(error_uS) < 0.6 * product_error(start)


def test_verification_leaves_less_than_descent_and_descent_than_open_loop():
  pair = pair_of(pcm.PCMParams())
  crossbar, info = jax.jit(
      lambda key, crossbar: program_verify.program_and_verify(
          key, *pair, crossbar,
          program_verify.pairs(jnp.asarray(TARGET_uS), bidirectional=False),
          verify_options.VerifyOptions(), HORIZON_S))(
              jax.random.key(1), opened()[0])
  errors = [product_error(e) for e in (
      true_error(pcm.PCMParams(), crossbar, info['elapsed_s']), descended()[2],
      opened()[2])]
  assert errors[0] < 0.9 * errors[1] < 0.7 * errors[2]


def test_descent_from_its_targets_stays_there():
  still = opened(noise_scale=0.0)[2]
  _, info, error_uS = descended(noise_scale=0.0)
  assert rms(error_uS) < 1.2 * rms(still)
  assert np.mean(np.sum(info['num_pulses'])) < np.size(TARGET_uS)


def test_an_eager_descent_writes_more():
  eager = descended(DESCENT._replace(decay=0.5))
  patient = descended(DESCENT._replace(threshold=100.0))
  assert np.sum(eager[1]['num_pulses']) > 3 * np.sum(
      descended()[1]['num_pulses'])
  assert not np.any(patient[1]['num_pulses'])
  np.testing.assert_allclose(patient[2], opened()[2])


def test_pulses_of_a_descent_are_counted():
  crossbar, info, _ = descended()
  before = opened()[1]
  assert info['error'].shape == (61,)
  assert np.sum(info['num_pulses']) == np.sum(
      crossbar.usage.num_pulses - before.usage.num_pulses)


def test_measured_products_have_the_law_of_reads():
  device, crossbar = pair_of(pcm.PCMParams())[0], opened()[1]
  n = 4096  # catches 7 % of a std
  x = np.random.default_rng(1).normal(size=SHAPE[2]).astype('f')
  found = np.asarray(jax.jit(gradient_programming.bare_products(device))(
      jax.random.key(0), crossbar, np.tile(x, (n, 1))))
  mean_uS, sigma_uS = (np.asarray(a)[:, 0] for a in jax.jit(device.read_stats)(
      crossbar.devices, 0.0))
  mean = GAIN * x @ (mean_uS[0] - mean_uS[1])
  std = GAIN * np.sqrt(x ** 2 @ (sigma_uS ** 2).sum(axis=0))
  assert np.all(np.abs(found.mean(axis=0) - mean)
                < 6.0 * std / np.sqrt(n))
  np.testing.assert_allclose(
      found.std(axis=0), std, rtol=6.0 / np.sqrt(2 * n))
