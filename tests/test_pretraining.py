"""Features are pretrained as an ordinary classifier, and kept as step 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import omniglot
from meta_analog import assembly
from meta_analog import checkpoints
from meta_analog import faults
from meta_analog import pretraining
from meta_analog import training
from tests import small_data

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path, monkeypatch):
  """Returns a tiny config on the small Omniglot, of 8 training classes."""
  small_data.use_omniglot(tmp_path, monkeypatch)
  config = omniglot.get_config('tiny')
  config.task.way = 3
  config.task.data_dir = str(tmp_path)
  config.training.pretrain_steps = 60
  config.training.pretrain_batch = 32
  config.training.pretrain_rate = 1e-2
  return config, assembly.build(config)


def test_a_loss_that_is_not_finite_ends_in_a_line(made, monkeypatch):
  config, setup = made
  endless = lambda state, _: (state, {'loss': jnp.nan, 'accuracy': 0.1})
  monkeypatch.setattr(pretraining, 'make', lambda *_: pretraining.Pretrainer(
      lambda key, params: pretraining.State(params, None, None), endless))
  with pytest.raises(faults.NumbersFault, match='lower config.training.pretr'):
    pretraining.run(config, setup, jax.random.key(0), {}, print)


def test_hidden_layers_learn_to_tell_the_classes_apart(made, tmp_path):
  config, setup = made
  state = training.make(config, setup).init(jax.random.key(0))
  lines = []
  saved = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  began = pretraining.begin(
      config, setup, saved, checkpoints.Restored(state, b'', {}), {},
      lines.append)
  assert lines[-1].endswith('among 8 classes')
  assert float(lines[-1].split()[-4]) > 0.9
  assert all(bool(jnp.all(jnp.isfinite(x)))
             for x in jax.tree.leaves(began.state.params))
  moved = {module: bool(jnp.any(
      state.params[module]['u'] != values['u']))
           for module, values in began.state.params.items() if 'u' in values}
  assert [moved[name] for name in sorted(moved)] == [True, True, False]
  assert saved.steps() == [0] and began.facts['wall_s'] > 0
  again = saved.newest(state, lines.append).state
  jax.tree.map(np.testing.assert_array_equal, again, began.state)
