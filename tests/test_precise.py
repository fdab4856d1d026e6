"""No factor of a product is rounded first, on any machine."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog import benchmark_steps as steps
from meta_analog import precise

ROOT = pathlib.Path(__file__).parents[1]
LEFT_TO_JAX = ('dot', 'dot_general', 'einsum', 'inner', 'matmul', 'matvec',
               'outer', 'tensordot', 'vdot', 'vecdot', 'vecmat')
FREE = ('precise.py', 'benchmark_lif.py')  # the latter for PyTorch's


def products(source):
  """Yields the line of every product that jax is left to round."""
  tree = ast.parse(source)
  if not any(isinstance(node, ast.Import) and any(
      name.name.startswith('jax') for name in node.names)
             for node in ast.walk(tree)):
    return  # NumPy does not round.
  for node in ast.walk(tree):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
      yield node.lineno
    if (isinstance(node, ast.Attribute) and node.attr in LEFT_TO_JAX
        and ast.unparse(node.value) in ('jnp', 'jax.numpy', 'jax.lax', 'lax')):
      yield node.lineno


def test_products_are_found_where_jax_is_left_to_round_them():
  source = 'import jax\nx = a @ b\ny = jnp.einsum("i,i", a, b)\n'
  assert list(products(source)) == [2, 3]
  assert not list(products(source.replace('import jax', 'import numpy')))


def test_no_product_is_left_to_jax():
  found = {str(path.relative_to(ROOT)): lines
           for path in sorted((ROOT / 'meta_analog').rglob('*.py'))
           if path.name not in FREE
           and (lines := list(products(path.read_text())))}
  assert not found


@pytest.mark.parametrize('rule', ['delta', 'ridge'])
def test_every_product_of_a_training_step_says_so(rule):
  text = steps.make_step(steps.step_config(
      pcm_config.get_config(), noisy=True, adapt__rule=rule,
      network__num_time_steps=5, network__hidden_sizes=(4, 4),
      evaluation__num_tasks=2, evaluation__num_chips=1,
      training__tasks_per_step=2, training__tasks_per_chip=2)
                         ).lowered.as_text()
  found = [line for line in text.splitlines()
           if 'stablehlo.dot_general' in line]
  assert len(found) > 10
  for line in found:
    assert 'precision = [HIGHEST, HIGHEST]' in line


def test_products_are_those_of_numpy():
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))
  for found in (precise.matmul(x, w), precise.einsum('ni,io->no', x, w),
                precise.tensordot(x, w, axes=1)):
    np.testing.assert_allclose(found, x @ w, rtol=1e-5, atol=1e-6)
  both = jax.jit(jax.grad(lambda x: jnp.sum(precise.matmul(x, w)))).lower(x)
  assert 'HIGHEST, HIGHEST' in both.as_text()  # of the derivative as well
