"""The README's example runs as it stands."""

import pathlib
import re

import jax.numpy as jnp
import pytest

pytestmark = pytest.mark.slow

README = pathlib.Path(__file__).parents[2] / 'README.md'


def _run(index):
  """Returns the names that the README's Python code of this index defines."""
  blocks = re.findall(r'```python\n(.*?)```', README.read_text(), re.S)
  names = {}
  exec(compile(blocks[index], 'README.md', 'exec'), names)
  return names


def test_the_example_of_the_readme_runs_and_draws_another_chip_per_key():
  names = _run(0)
  rates = names['rates']
  assert rates.shape == (3, 8)
  assert bool(jnp.all((rates >= 0) & (rates <= 1)))
  assert bool(jnp.any(rates > 0))
  key = names['jax'].random.key
  other = names['net'].apply(names['params'], key(2), names['x'])
  same = names['net'].apply(names['params'], key(1), names['x'])
  assert bool(jnp.all(same == rates)) and bool(jnp.any(other != rates))


def test_an_array_of_256_by_256_is_programmed_to_tolerance_from_reset():
  names = _run(1)
  assert names['info']['converged'] > 0.999
  error = names['found_uS'] - names['wanted_uS']
  assert 0.3 < float(jnp.sqrt(jnp.mean(jnp.square(error)))) < 0.6
  wear = names['crossbar'].wear
  assert bool(jnp.all(wear.num_resets >= 1))
