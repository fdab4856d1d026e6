"""Tests of ensemble training: a run takes the steps of its separate run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.runtime import compilation
from meta_analog.training import ensemble
from meta_analog.training import meta_training
from meta_analog.training import training_loop

# As many steps as let XLA compile as for any longer run, see
# compilation.options: with less optimisation, bits differ.
SMALL = {
    'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
    'training.num_steps': compilation.SHORT_RUN, 'training.tasks_per_step': 4,
    'training.noise_full': 0.0, 'training.warmup_fraction': 0.0}


@pytest.mark.parametrize('width', [1, 2, 6])
def test_grouping_changes_no_result(width):
  items = jnp.arange(6.0), jnp.arange(12.0).reshape(6, 2)
  out = ensemble.grouped_map(lambda item: item[0] * item[1], width, items)
  assert np.array_equal(out, items[0][:, None] * items[1])


def test_a_single_run_is_not_batched():
  batched = []
  for width in (1, 3):
    ensemble.grouped_map(
        lambda x: batched.append('BatchTracer' in type(x).__name__) or x, width,
        jnp.zeros((3, 2)))
  assert batched[0] is False and batched[-1] is True


def test_the_silence_of_a_layer_names_its_run():
  logged = []
  silence = training_loop._Silence(logged.append, 'seed=1')
  silence.update(3, [10.0, 0.0])
  assert 'hidden layer 2 of seed=1 is dead at step 3' in logged[0]


@pytest.mark.slow
@pytest.mark.parametrize('width', [1, 2])
def test_a_run_takes_the_steps_of_its_separate_run(width):
  # Up to rounding: XLA fuses a step within a loop over runs otherwise.
  config = pcm.get_config('tiny')
  config.update_from_flattened_dict(SMALL)
  separate = meta_training.make(config, build.build(config))
  together = ensemble.make(config, 2, width)
  keys = lambda seed: jax.random.split(jax.random.key(seed))
  state = jax.jit(separate.init)(keys(1)[0])
  states = together.init(jnp.stack([keys(seed)[0] for seed in (4, 1)]))
  assert all(np.array_equal(a, b) for a, b in zip(
      jax.tree.leaves(ensemble.state_of(states, 1)), jax.tree.leaves(state),
      strict=True))
  for step in range(2):
    state, info = separate.update(state, keys(1)[1])
    states, infos = together.update(
        states, jnp.stack([keys(seed)[1] for seed in (4, 1)]))
    found = (ensemble.state_of(states, 1),
             jax.tree.map(lambda x: x[1], infos))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves((state, info)),
                    strict=True):
      np.testing.assert_allclose(
          a, b, rtol=0, atol=1e-3 * np.max(np.abs(b)), err_msg=str(step))
  other = ensemble.state_of(states, 0)
  assert not np.allclose(jax.tree.leaves(other.params)[-1],
                         jax.tree.leaves(state.params)[-1], rtol=1e-2)
