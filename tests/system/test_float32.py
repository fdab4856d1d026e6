"""A training step and a test are those of float32 where jax has 64 bits."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import run_keys
from meta_analog.training import meta_training

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
    'network.hidden_sizes': (4,), 'network.num_time_steps': 6,
    'training.tasks_per_step': 2, 'training.tasks_per_chip': 2,
    'evaluation.num_tasks': 2, 'evaluation.num_chips': 1,
    'evaluation.after_s': (251.0, 86400.0)}
# What shipped configs do not do, or do on images alone.
CHANGES = {
    'pcm': {},
    'verified': {'adapt.write': 'verified', 'periphery.gain_std': 0.01,
                 'evaluation.programming': 'verified',
                 'crossbar.drift_compensation': 'global',
                 'crossbar.stuck_fraction': 0.1},
    'reram': {'device': 'reram', 'network.neuron': 'rate'},
    'all layers': {'device': 'hermes', 'adapt.layers': 'all',
                   'adapt.rule': 'delta', 'adapt.encoding': 'nearest'},
}


def _functions(changes):
  """Returns training's first step and the test, and their arguments."""
  config = pcm.get_config('tiny')
  config.update_from_flattened_dict(SMALL | CHANGES[changes])
  setup, keys = build.build(config), run_keys.make(0)
  trainer = meta_training.make_uncompiled(
      config, setup, build.vary(config).learning_rate)
  state = jax.jit(trainer.init)(keys.init)
  return state, ((trainer.update, (state, keys.train)),
                 (meta_testing.make_test(config, setup),
                  (state.params, keys.test)))


def _dtypes(tree):
  return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize('changes', [
    pytest.param(name, marks=pytest.mark.slow if name == 'all layers' else ())
    for name in sorted(CHANGES)])
def test_a_step_and_a_test_return_float32_where_jax_has_64_bits(changes):
  with jax.enable_x64(True):
    state, functions = _functions(changes)
    assert 'float64' not in _dtypes(state)
    for function, arguments in functions:
      assert 'float64' not in _dtypes(jax.eval_shape(function, *arguments))


@pytest.mark.slow  # compiles four programs
def test_the_numbers_are_those_without_64_bits():
  found = []
  for enabled in (False, True):
    with jax.enable_x64(enabled):
      _, functions = _functions('pcm')
      found.append([jax.device_get(jax.jit(function)(*arguments))
                    for function, arguments in functions])
  (_, info), (results, _) = found[0]
  assert np.isfinite(info['loss']) and info['loss'] > 0
  assert np.all(np.isfinite(results.query_after))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(
      jnp.float32(a), jnp.float32(b), rtol=1e-4, atol=1e-5), *found)


def test_commands_switch_64_bits_off():
  code = ('import jax; from meta_analog.experiment import command_line as c; '
          'c.start = lambda *_, **__: print(jax.config.x64_enabled); '
          'from meta_analog import cli; cli.main(["characterize"])')
  result = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True,
      env=os.environ | {'JAX_ENABLE_X64': '1', 'PYTHONPATH': str(ROOT)},
      check=True)
  assert result.stdout == 'False\n'
