"""The small learner with compiled functions, and its samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import types
from tests.helpers import small_networks as small

T_READ_S, T_WRITE_S = jnp.float32(100.0), jnp.float32(101.0)
DEVICES = {'ideal': small.ideal_pair, 'pcm': small.pcm_pair}


@functools.cache
def jitted(device, keep_trace=False, fresh_share=0.5, **rule):
  """Returns the small learner with compiled functions."""
  learner = small.make(
      DEVICES[device](), small.network(fresh_share=fresh_share),
      keep_trace=keep_trace, **rule)
  return types.Learner(*map(jax.jit, learner))


def support(seed=0, num_samples=6):
  key_x, key_y = jax.random.split(jax.random.key(seed))
  return types.Samples(
      x=jax.random.uniform(key_x, (num_samples, 1), minval=-1.0, maxval=1.0),
      y=2.0 * jax.random.normal(key_y, (num_samples, 1)))


def equal(a, b):
  """Returns whether two pytrees agree bit for bit."""
  return all(np.array_equal(x, y) for x, y in zip(
      jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
