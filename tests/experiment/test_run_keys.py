"""The keys of a run, and the names of what draws from them."""

import jax
import numpy as np

from meta_analog.experiment import run_keys


def test_keys_are_five_parts_of_the_seed_in_a_fixed_order():
  keys = run_keys.make(7)
  assert keys._fields == ('init', 'train', 'test', 'validation', 'figures')
  expected = jax.random.split(jax.random.key(7), 5)
  for i, key in enumerate(keys):
    np.testing.assert_array_equal(
        jax.random.key_data(key), jax.random.key_data(expected[i]))
