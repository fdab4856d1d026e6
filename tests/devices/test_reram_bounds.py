"""ReRAM: whole populations of devices against the laws of their sources."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.devices import reram
from tests.oracles import clipped
from tests.oracles import device as oracles_device
from tests.oracles import reram as oracle

SIZE = 8192  # 6 errors are 4.7 % of a std
DEFAULT = reram.ReRamParams()


@functools.partial(jax.jit, static_argnums=0)
def _after(num_pulses, sign):
  """Returns devices that began at ref, after a long train of one sign."""
  device = reram.make(DEFAULT._replace(program_scale=0.0),
                      max_pulses=num_pulses)
  state = device.program(jax.random.key(0), jnp.full(SIZE, oracle.REF))
  return device.pulse(
      jax.random.key(1), state, jnp.full(SIZE, num_pulses * sign))


@pytest.mark.parametrize('sign', [-1.0, 1.0])
def test_a_thousand_pulses_end_where_those_of_the_source_do(sign):
  ours = np.asarray(_after(1000, sign).g_uS, np.float64)
  theirs = oracle.population(np.random.default_rng(0), SIZE, sign, 1000)
  error = np.hypot(ours.std(), theirs.std()) / np.sqrt(SIZE)
  assert abs(ours.mean() - theirs.mean()) < 6 * error
  np.testing.assert_allclose(ours.std(), theirs.std(), rtol=0.07)


def test_reads_after_pulses_have_the_mean_of_the_states():
  state = _after(1000, -1.0)
  mean = reram.make(DEFAULT).read_stats(state, jnp.float32(0.5))[0]
  offset = np.asarray(mean - state.g_uS, np.float64)
  oracles_device.assert_moments(offset, 0.0, oracle.WRITE_STD * oracle.STEP)
  assert np.mean(state.g_uS < 0) > 0.1


@pytest.mark.parametrize('target', [1.0, 2.0, 4.0, 6.0, 8.0])
@pytest.mark.parametrize('age', [86400.0, 172800.0])
def test_low_states_spread_as_published(target, age):
  # 262144 devices: 6 errors are 0.8 % of a std.
  size = 262144
  state = reram.make(DEFAULT).program(
      jax.random.key(2), jnp.full(size, target))
  g_uS = np.asarray(
      reram.make(DEFAULT).read_stats(state, jnp.float32(age))[0], np.float64)
  law = clipped.moments(target, oracle.std(target, age), 0.0, np.inf)
  np.testing.assert_allclose(g_uS.std(), law[1], rtol=0.013)
