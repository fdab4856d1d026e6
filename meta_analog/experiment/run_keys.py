"""The random keys of a run, one for each of its parts."""

from typing import NamedTuple

import jax


class RunKeys(NamedTuple):
  """Random keys of the parts of a run.

  Tasks and chips of a test depend on the seed alone, and not on how long was
  trained.
  """

  init: jax.Array  # meta-parameters at the start
  train: jax.Array  # step s uses fold_in(train, s)
  test: jax.Array  # chip i of the test uses fold_in(test, i)
  validation: jax.Array  # tasks on which baselines are tuned
  figures: jax.Array


def make(seed: int) -> RunKeys:
  """Returns the keys of a run.

  Args:
    seed: `config.seed`.
  """
  keys = jax.random.split(jax.random.key(seed), len(RunKeys._fields))
  return RunKeys(*keys)
