"""The cheap Gaussian draws: their law, and their independence."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from meta_analog.core import gaussian

NUM = 2**20  # six errors of the variance are 0.8 %, of the kurtosis 0.06
seeds = st.integers(0, 2**31 - 1)


@pytest.fixture(scope='module')
def draws():
  return np.asarray(gaussian.normal(jax.random.key(7), (NUM,)), np.float64)


def hash_in_python(x, y, z):
  """Returns pcg3d of three integers, by Python's own arithmetic."""
  mask = 2**32 - 1
  v = [(w * 1664525 + 1013904223) & mask for w in (x, y, z)]
  for last in (False, True):
    v[0] = (v[0] + v[1] * v[2]) & mask
    v[1] = (v[1] + v[2] * v[0]) & mask
    v[2] = (v[2] + v[0] * v[1]) & mask
    if not last:
      v = [w ^ (w >> 16) for w in v]
  return tuple(v)


def test_the_cumulative_distribution_holds_far_below_the_mean():
  x = np.linspace(-12.5, 12.5, 2001, dtype=np.float32)
  np.testing.assert_allclose(
      jax.jit(gaussian.cdf)(x), stats.norm.cdf(x.astype(np.float64)), rtol=2e-5)
  np.testing.assert_allclose(
      jax.jit(jax.vmap(jax.grad(gaussian.cdf)))(x),
      stats.norm.pdf(x.astype(np.float64)), rtol=4e-5)


@given(*[st.integers(0, 2**32 - 1)] * 3)
def test_the_hash_is_that_of_whole_numbers(x, y, z):
  found = gaussian.hashed(*(jnp.uint32(w) for w in (x, y, z)))
  assert tuple(int(w) for w in found) == hash_in_python(x, y, z)


@given(*[st.integers(0, 2**32 - 1)] * 3)
def test_both_words_of_a_key_count(first, second, other):
  def drawn(*words):
    data = jnp.array(words, jnp.uint32)
    return gaussian.normal(jax.random.wrap_key_data(data), (8,)).tobytes()

  changed = (drawn(first, other), drawn(other, second))
  assert (drawn(first, second) in changed) == (other in (first, second))


def test_moments_are_those_of_a_gaussian(draws):
  # Standard deviations of the powers: 1, sqrt 2, sqrt 96 and sqrt 10170.
  for power, mean, std in (
      (1, 0.0, 1.0), (2, 1.0, np.sqrt(2)), (3, 0.0, np.sqrt(15)),
      (4, 3.0, np.sqrt(96)), (6, 15.0, np.sqrt(10170))):
    error = std / np.sqrt(NUM)
    assert abs(np.mean(draws**power) - mean) < 6 * error, power


def test_the_distribution_is_gaussian(draws):
  assert stats.kstest(draws, 'norm').pvalue > 1e-6
  # 1 in 370 lies beyond three standard deviations, 1 in 15,787 beyond four.
  for limit in (3.0, 4.0):
    share = 2 * stats.norm.sf(limit)
    assert abs(np.mean(np.abs(draws) > limit) - share) < 6 * np.sqrt(
        share / NUM)


def test_the_straightened_sum_follows_the_gaussian_quantile():
  # Six halves of equal value u: the sum is at its quantile F(u).
  num_levels = 4096
  density, one = np.ones(1), np.full(num_levels, 1.0 / num_levels)
  for _ in range(gaussian.NUM_HALVES):
    density = np.convolve(density, one)
  below = np.cumsum(density) - 0.5 * density
  s = (np.arange(len(density)) - 3 * (num_levels - 1)) / np.sqrt(
      0.5 * (num_levels**2 - 1))
  value = sum(b * s ** (2 * i + 1) for i, b in enumerate(gaussian.QUANTILE))
  assert np.all(np.diff(value) > 0)
  assert np.max(np.abs(stats.norm.cdf(value) - below)) < 3e-5
  assert abs(np.sum(density * value**2) - 1) < 1e-5
  assert abs(np.sum(density * value**4) - 3) < 1e-4


@pytest.mark.parametrize('lag', [1, 2, 3, 4, 8, 40, 800, 2**16])
def test_neighbours_are_independent(draws, lag):
  a, b = draws[:-lag], draws[lag:]
  assert abs(np.mean(a * b)) < 6 / np.sqrt(len(a))
  assert abs(np.mean((a**2 - 1) * (b**2 - 1))) < 6 * 2 / np.sqrt(len(a))


def test_the_keys_of_a_split_draw_independently():
  keys = jax.random.split(jax.random.key(3), 16)
  many = np.asarray(jax.vmap(lambda key: gaussian.normal(key, (4096,)))(keys))
  found = np.corrcoef(many) - np.eye(16)
  assert np.max(np.abs(found)) < 6 / np.sqrt(4096)


@given(seeds)
def test_a_batch_of_keys_draws_what_each_would_alone(seed):
  keys = jax.random.split(jax.random.key(seed), 3)
  draw = lambda key: gaussian.normal(jax.random.clone(key), (2, 5))
  np.testing.assert_array_equal(
      jax.vmap(draw)(keys), np.stack([draw(key) for key in keys]))


def test_a_key_is_consumed():
  def twice(key):
    return gaussian.normal(key, (3,)) + gaussian.normal(key, (3,))

  with pytest.raises(jax.errors.KeyReuseError):
    jax.jit(twice)(jax.random.key(0))
