"""Learners are large programs, whose keys are followed in a few tests alone."""

import jax
import pytest

FOLLOWED = ('test_learner', 'test_maml', 'test_update_rules')


@pytest.fixture(scope='module', autouse=True)
def keys_followed(request):
  """Whether jax looks for keys used twice, which takes a tenth of the time."""
  with jax.debug_key_reuse(
      request.module.__name__.rpartition('.')[2] in FOLLOWED):
    yield
