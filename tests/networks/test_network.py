"""The population code against interpolation."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.networks import encoding

NUMBERS = st.lists(st.floats(-1.0, 1.0, width=32), min_size=1, max_size=5)


@hypothesis.given(
    seed=st.integers(0, 2**31 - 1), num_channels=st.sampled_from([2, 3, 8]),
    numbers=NUMBERS)
def test_product_with_a_population_code_interpolates_the_weights(
    seed, num_channels, numbers):
  weights = np.random.default_rng(seed).normal(size=num_channels)
  code = encoding.population_code(
      jnp.asarray(numbers)[:, None], num_channels)
  expected = np.interp(
      numbers, np.linspace(-1.0, 1.0, num_channels), weights)
  np.testing.assert_allclose(code @ weights, expected, atol=1e-5)


def test_numbers_that_come_together_have_channels_of_their_own():
  x = jax.random.uniform(jax.random.key(0), (4, 2), minval=-1.0)
  code = encoding.population_code(x, 3)
  alone = [encoding.population_code(x[:, i:i + 1], 3) for i in range(2)]
  np.testing.assert_array_equal(code, jnp.concatenate(alone, axis=1))


def test_one_channel_leaves_numbers_as_they_are():
  x = jnp.array([[-3.0], [0.5]])
  np.testing.assert_array_equal(encoding.population_code(x, 1), x)
