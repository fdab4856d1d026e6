"""Items over many devices: each computed once, summed in order."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import sharding
from meta_analog.runtime import environment
from tests.helpers import runs


def test_each_process_places_its_data_by_itself(monkeypatch):
  data = {'images': np.arange(6, dtype=np.uint8).reshape(2, 3)}
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  # It would wait for the others, which need not come.
  monkeypatch.setattr(jax, 'device_put', lambda *_: pytest.fail('compared'))
  shared, own = sharding.replicate(data), sharding.place_locally(data)
  assert shared['images'].sharding == sharding.replicated()
  for placed in (shared, own):
    np.testing.assert_array_equal(placed['images'], data['images'])
    assert placed['images'].dtype == np.uint8


def meshes(*counts):
  """Runs this file on 8 forced devices and returns what it prints."""
  process = subprocess.run([sys.executable, __file__, *map(str, counts)],
                           capture_output=True,
                           text=True,
                           check=True,
                           timeout=120,
                           env=os.environ | {
                               'PYTHONPATH': str(runs.ROOT),
                               'XLA_FLAGS': f'{environment.FORCED_DEVICES}=8'
                           })
  return process.stdout.splitlines()


def test_items_and_their_sum_are_the_same_on_any_mesh():
  lines = meshes(2, 3, 4, 8)
  assert len(lines) == 4 and len(set(lines)) == 1


def _item(params, i, key, scale):
  """Returns draws of an item and what is very sensitive to rounding."""
  x = scale * jax.random.normal(jax.random.fold_in(key, i), (7,))
  turn = lambda x, _: (jnp.sin(50 * (x @ params) + x), None)
  return {'x': x, 'y': jax.lax.scan(turn, x, length=20)[0]}


def _digest(num_devices, num_items=10):
  """Returns the bits of items and of their sum on part of the devices."""
  devices = jax.devices()[:num_devices]
  sharding.mesh = lambda: jax.make_mesh(
      (num_devices,), (sharding.SHARD,), devices=devices,
      axis_types=(jax.sharding.AxisType.Auto,))
  params = jax.random.normal(jax.random.key(1), (7, 7))

  @jax.jit
  def both(params, key):
    items = sharding.map_over_devices(_item, num_items, params, key, 1.0)
    return items, sharding.sum_in_order(items)

  return ' '.join(np.asarray(x).tobytes().hex() for x in jax.tree.leaves(
      both(params, jax.random.key(2))))


def test_each_item_is_computed_once_by_its_global_index():
  params, key = jnp.eye(7), jax.random.key(3)
  items = jax.jit(lambda params, key: sharding.map_over_devices(
      lambda params, i, key, scale: i, 5, params, key, 1.0))(params, key)
  np.testing.assert_array_equal(items, range(5))


def test_the_sum_is_taken_in_order():
  x = np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32)
  total = np.zeros(50, np.float32)
  for row in x:
    total = total + row
  assert np.any(total != x[::-1].cumsum(axis=0)[-1])  # the order matters
  np.testing.assert_array_equal(
      jax.jit(sharding.sum_in_order)({'x': x})['x'], total)


if __name__ == '__main__':
  for count in sys.argv[1:]:
    print(_digest(int(count)))
