"""The README's example runs as it stands."""

import pathlib
import re

import jax.numpy as jnp

README = pathlib.Path(__file__).parents[1] / 'README.md'


def test_the_example_of_the_readme_runs_and_draws_another_chip_per_key():
  code = re.search(r'```python\n(.*?)```', README.read_text(), re.S).group(1)
  names = {}
  exec(compile(code, 'README.md', 'exec'), names)
  rates = names['rates']
  assert rates.shape == (3, 8)
  assert bool(jnp.all((rates >= 0) & (rates <= 1)))
  assert bool(jnp.any(rates > 0))
  key = names['jax'].random.key
  other = names['net'].apply(names['params'], key(2), names['x'])
  same = names['net'].apply(names['params'], key(1), names['x'])
  assert bool(jnp.all(same == rates)) and bool(jnp.any(other != rates))
