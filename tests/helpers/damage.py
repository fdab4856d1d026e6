"""A state to save, and the ways in which a file of it is damaged."""

import os
import shutil

import jax.numpy as jnp

STATE = {'w': jnp.arange(12.0).reshape(3, 4), 'step': jnp.int32(7)}
FACTS = {'config': {'seed': 0}, 'wall_s': 1.5}


def truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def empty(path):
  path.write_bytes(b'')


def flip(path, bit=3):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1 << bit
  path.write_bytes(data)


def link(path):
  target = path.parent.parent.parent / 'elsewhere'
  shutil.copy(path, target)
  path.unlink()
  path.symlink_to(target)

DAMAGES = {'truncated': truncate, 'emptied': empty, 'flipped': flip,
           'deleted': os.unlink, 'linked': link}
