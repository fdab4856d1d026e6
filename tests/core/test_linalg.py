"""Matrix products in full precision, in the source and when lowered."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm as pcm_config
from meta_analog.benchmarks import meta_step
from meta_analog.core import linalg

ROOT = pathlib.Path(__file__).parents[2]
DEFAULT_PRECISION = (
    'batch_matmul', 'conv', 'conv_general_dilated', 'convolve', 'correlate',
    'dot', 'dot_general', 'einsum', 'inner', 'matmul', 'matvec', 'outer',
    'tensordot', 'vdot', 'vecdot', 'vecmat')
FREE = ('_torch_gradient',)  # a function whose products are those of PyTorch


def products(source):
  """Yields the line of every product at the default precision."""
  tree = ast.parse(source)
  imported = {alias.name.split('.')[0] for node in ast.walk(tree)
              if isinstance(node, ast.Import) for alias in node.names}
  imported |= {str(node.module).split('.')[0] for node in ast.walk(tree)
               if isinstance(node, ast.ImportFrom)}
  if 'jax' not in imported:
    return  # NumPy does not round.
  free = {id(inner) for node in ast.walk(tree)
          if isinstance(node, ast.FunctionDef) and node.name in FREE
          for inner in ast.walk(node)}
  for node in ast.walk(tree):
    if id(node) in free:
      continue
    if (isinstance(node, (ast.BinOp, ast.AugAssign))
        and isinstance(node.op, ast.MatMult)):
      yield node.lineno
    if (isinstance(node, ast.Attribute) and node.attr in DEFAULT_PRECISION
        and ast.unparse(node.value) not in ('np', 'linalg')):
      yield node.lineno


@pytest.mark.parametrize('line', [
    'x = a @ b', 'x @= b', 'x = jnp.einsum("i,i", a, b)', 'x = a.dot(b)',
    'x = jax.lax.conv_general_dilated(a, b)'])
@pytest.mark.parametrize('jax_line', ['import jax', 'from jax import numpy'])
def test_products_at_the_default_precision_are_found(line, jax_line):
  assert list(products(f'{jax_line}\n{line}\n')) == [2]
  assert not list(products(f'import numpy as np\n{line}\n'))


def test_no_product_has_the_default_precision():
  found = {str(path.relative_to(ROOT)): lines
           for folder in ('meta_analog', 'configs', 'launch')
           for path in sorted((ROOT / folder).rglob('*.py'))
           if path.name != 'linalg.py'
           and (lines := list(products(path.read_text())))}
  assert not found


@pytest.mark.parametrize('rule', [
    pytest.param('delta', marks=pytest.mark.slow), 'ridge'])
def test_every_product_of_a_training_step_has_full_precision(rule):
  config = meta_step.step_config(
      pcm_config.get_config(), noisy=True, adapt__rule=rule,
      network__num_time_steps=5, network__hidden_sizes=(4, 4),
      evaluation__num_tasks=2, evaluation__num_chips=1,
      training__tasks_per_step=2, training__tasks_per_chip=2)
  with jax.default_matmul_precision('default'):  # not that of the tests
    text = meta_step.make_step(config).lowered.as_text()
  found = [line for line in text.splitlines()
           if 'stablehlo.dot_general' in line]
  assert len(found) > 10
  for line in found:
    assert 'precision = [HIGHEST, HIGHEST]' in line


def test_products_are_those_of_numpy():
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))
  for found in (linalg.matmul(x, w), linalg.einsum('ni,io->no', x, w),
                linalg.tensordot(x, w, axes=1)):
    np.testing.assert_allclose(found, x @ w, rtol=1e-5, atol=1e-6)
  with jax.default_matmul_precision('default'):  # not that of the tests
    both = jax.jit(
        jax.grad(lambda x: jnp.sum(linalg.matmul(x, w)))).lower(x).as_text()
  assert 'HIGHEST, HIGHEST' in both  # of the derivative as well
