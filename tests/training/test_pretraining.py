"""Features are pretrained as an ordinary classifier, and kept as step 0."""

import pathlib
import signal
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import omniglot
from meta_analog.config import build
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import workdir
from meta_analog.runtime import checkpoints
from meta_analog.runtime import signals
from meta_analog.training import meta_training
from meta_analog.training import params_file
from meta_analog.training import pretraining
from meta_analog.training import pretraining_checkpoints
from tests.helpers import small_data

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path, monkeypatch):
  """Returns a tiny config on the small Omniglot: 4 of its 8 classes a task."""
  small_data.use_omniglot(tmp_path, monkeypatch)
  config = omniglot.get_config('tiny')
  config.task.way = 3
  config.task.centred = False  # One block would move all of a drawing.
  config.task.data_dir = str(tmp_path)
  config.training.pretrain_steps = 60
  config.training.pretrain_way = 4
  config.training.pretrain_tasks = 1
  config.training.pretrain_rate = 1e-2
  return config, build.build(config)


def test_a_gradient_that_is_not_finite_ends_in_a_line(made, tmp_path):
  config, setup = made
  config.training.pretrain_steps = 3
  state, command, _ = _begun(made, tmp_path)
  name = next(name for name in state.params if name.endswith('layer_1'))
  state.params[name]['u'] = state.params[name]['u'].at[0, 0].set(jnp.nan)
  kept = pretraining_checkpoints.Kept(command)
  with pytest.raises(errors.NonFiniteError,
                     match='lower config.training.pretr'):
    pretraining.run(config, setup, jax.random.key(0), state.params, print,
                    kept, command.stop)
  assert workdir.pretraining(tmp_path).steps() == []  # and nothing is saved


def test_hidden_layers_learn_to_tell_the_classes_apart(made, tmp_path):
  config, setup = made
  state, command, saved = _begun(made, tmp_path)
  began = pretraining.begin(
      command, setup, saved, checkpoints.Restored(state, b'', {}))
  assert command.lines[-1].endswith('among 4 classes. About 0 min left.')
  assert float(command.lines[-1].split('accuracy ')[1].split()[0]) > 0.9
  assert all(bool(jnp.all(jnp.isfinite(x)))
             for x in jax.tree.leaves(began.state.params))
  assert _moved(state, began.state) == [True, True, False]
  assert saved.steps() == [0] and began.facts['wall_s'] > 0
  again = saved.newest(state, command.say).state
  jax.tree.map(np.testing.assert_array_equal, again, began.state)
  kept = params_file.load(tmp_path / pretraining.FILE, state.params)
  jax.tree.map(np.testing.assert_array_equal, kept, began.state.params)


def test_pretraining_that_was_stopped_goes_on(made, tmp_path, monkeypatch):
  config, setup = made
  config.training.pretrain_steps = 20
  state, command, _ = _begun(made, tmp_path)

  def begin(folder):
    folder.mkdir(exist_ok=True)
    workdir.claim(config, folder, command.say)
    return pretraining.begin(
        command._replace(folder=folder), setup,
        checkpoints.Checkpoints(folder / 'checkpoints'),
        checkpoints.Restored(state, b'', {})).state.params

  whole = begin(tmp_path / 'whole')
  make = pretraining.make

  def make_stopping(*args):
    trainer, taken = make(*args), []

    def update(state, key):
      taken.append(None)
      if len(taken) == 13:
        command.stop.signum = signal.SIGTERM
      return trainer.update(state, key)

    return trainer._replace(update=update)

  stopped = tmp_path / 'stopped'
  with monkeypatch.context() as patch:
    patch.setattr(pretraining, 'make', make_stopping)
    with pytest.raises(errors.Interrupted,
                       match='step 13 of pretraining is saved'):
      begin(stopped)
  command.stop.signum = None
  assert workdir.how_to_go_on(stopped).endswith('step 13 of pretraining')
  config.training.pretrain_rate *= 2
  with pytest.raises(errors.InputError,
                     match='another config: training.pretrain_rate differ'):
    begin(stopped)
  config.training.pretrain_rate /= 2
  jax.tree.map(np.testing.assert_array_equal, begin(stopped), whole)
  assert 'Going on from step 13 of pretraining.' in command.lines
  assert not (stopped / workdir.PRETRAINING).exists()
  assert 'pretraining is saved' in command.stop.advice


def test_a_net_of_other_classes_begins_with_the_hidden_layers(made, tmp_path):
  config, setup = made
  state, command, saved = _begun(made, tmp_path)
  trained = jax.tree.map(lambda x: x + 1.0, state.params)
  params_file.save(tmp_path / 'other.npz', trained)
  config.task.way = 2
  config.training.pretrain_steps = 0
  config.training.begin_with = str(tmp_path / 'other.npz')
  setup = build.build(config)
  state = meta_training.make(config, setup).init(jax.random.key(1))
  began = pretraining.begin(
      command, setup, saved, checkpoints.Restored(state, b'', {}))
  assert _moved(state, began.state) == [True, True, False]
  name = next(name for name in trained if name.endswith('layer_1'))
  np.testing.assert_array_equal(
      began.state.params[name]['u'], trained[name]['u'])
  assert saved.steps() == [] and 'other.npz' in command.lines[-1]


def test_hidden_layers_of_another_net_are_refused_in_one_line(made, tmp_path):
  config, setup = made
  state, command, saved = _begun(made, tmp_path)
  params_file.save(tmp_path / 'other.npz', state.params)
  config.network.convolutions = ((4, 5, 3), (9, 3, 2))
  config.training.begin_with = str(tmp_path / 'other.npz')
  setup = build.build(config)
  state = meta_training.make(config, setup).init(jax.random.key(1))
  with pytest.raises(errors.InputError, match='another net'):
    pretraining.begin(
        command, setup, saved, checkpoints.Restored(state, b'', {}))
  config.training.begin_with = str(tmp_path / 'missing.npz')
  with pytest.raises(errors.InputError, match='no such file'):
    validation.check(config)


class _Command(NamedTuple):
  """What of an `run.Run` is used."""

  config: Any
  folder: pathlib.Path
  record: dict[str, Any]
  lines: list[str]
  stop: signals.Interrupts

  def say(self, line):
    self.lines.append(line)


def _begun(made, folder):
  """Returns a random state, a command and no checkpoints."""
  config, setup = made
  return (meta_training.make(config, setup).init(jax.random.key(0)),
          _Command(config, folder, {}, [], signals.Interrupts()),
          checkpoints.Checkpoints(folder / 'checkpoints'))


def _moved(before, after):
  """Returns of each crossbar whether its weights changed."""
  return [bool(jnp.any(before.params[module]['u'] != values['u']))
          for module, values in sorted(after.params.items()) if 'u' in values]
