"""Features are pretrained as an ordinary classifier, and kept as step 0."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import omniglot
from meta_analog.config import build
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import context
from meta_analog.experiment import train
from meta_analog.experiment import workdir
from meta_analog.reporting import terminal
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
  params, saved, log, stop = _begun(made, tmp_path / 'pretraining')
  name = next(name for name in params if name.endswith('layer_1'))
  params[name]['u'] = params[name]['u'].at[0, 0].set(jnp.nan)
  with pytest.raises(errors.NonFiniteError,
                     match='lower config.training.pretr'):
    pretraining.run(
        config, setup, jax.random.key(0), params, saved, log.append, stop)
  assert not (tmp_path / 'pretraining').exists()  # Nothing is saved.


def test_hidden_layers_learn_to_tell_the_classes_apart(made, tmp_path):
  config, setup = made
  params, saved, log, stop = _begun(made, tmp_path / 'pretraining')
  found = pretraining.hidden_layers(
      config, setup, params, saved, log.append, stop)
  assert log[-1].endswith('among 4 classes. About 0 min left.')
  assert float(log[-1].split('accuracy ')[1].split()[0]) > 0.9
  assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(found))
  assert _moved(params, found) == [True, True, False]
  assert saved.facts()['wall_s'] > 0


def test_pretraining_is_kept_as_step_0_and_its_checkpoints_go(made, tmp_path):
  config, setup = made
  config.training.pretrain_steps = 3
  trainer = meta_training.make(config, setup)
  began = checkpoints.Restored(trainer.init(jax.random.key(0)), b'', {})
  command = context.Context(config, tmp_path, terminal.console(),
                    signals.StopRequest(), {}, None)
  saved = checkpoints.Checkpoints(tmp_path / 'checkpoints')
  began = train._pretrain(command, setup, saved, began)
  assert saved.steps() == [0] and began.facts['wall_s'] > 0
  jax.tree.map(np.testing.assert_array_equal,
               saved.newest(began.state, print).state, began.state)
  kept = params_file.load(tmp_path / train.PRETRAINED, began.state.params)
  jax.tree.map(np.testing.assert_array_equal, kept, began.state.params)
  assert not (tmp_path / workdir.PRETRAINING).exists()
  assert 'pretraining is saved' in command.stop.advice


def test_pretraining_that_was_stopped_resumes(made, tmp_path, monkeypatch):
  config, setup = made
  config.training.pretrain_steps = 20

  def begin(folder):
    folder.mkdir(exist_ok=True)
    workdir.claim(config, folder, print)
    params, saved, log, stop = _begun(made, folder / workdir.PRETRAINING)
    found = lambda: pretraining.hidden_layers(
        config, setup, params, saved, log.append, stop)
    return found, log, stop

  whole = begin(tmp_path / 'whole')[0]()
  make, stopped = pretraining.make, tmp_path / 'stopped'
  resume, _, stop = begin(stopped)

  def make_stopping(*args):
    trainer, taken = make(*args), []

    def update(state, key):
      taken.append(None)
      if len(taken) == 13:
        stop.signum = signal.SIGTERM
      return trainer.update(state, key)

    return trainer._replace(update=update)

  with monkeypatch.context() as patch:
    patch.setattr(pretraining, 'make', make_stopping)
    with pytest.raises(errors.Interrupted,
                       match='step 13 of pretraining is saved'):
      resume()
  assert workdir.how_to_resume(stopped).endswith('step 13 of pretraining')
  config.training.pretrain_rate *= 2
  with pytest.raises(errors.InputError,
                     match='config: training.pretrain_rate = .* is now'):
    begin(stopped)
  config.training.pretrain_rate /= 2
  resume, log, _ = begin(stopped)
  jax.tree.map(np.testing.assert_array_equal, resume(), whole)
  assert 'Resuming from step 13 of pretraining.' in log


def test_a_net_of_other_classes_begins_with_the_hidden_layers(made, tmp_path):
  config, setup = made
  params, saved, log, stop = _begun(made, tmp_path / 'pretraining')
  trained = jax.tree.map(lambda x: x + 1.0, params)
  params_file.save(tmp_path / 'other.npz', trained)
  config.task.way = 2
  config.training.pretrain_steps = 0
  config.training.begin_with = str(tmp_path / 'other.npz')
  setup = build.build(config)
  params = meta_training.make(config, setup).init(jax.random.key(1)).params
  found = pretraining.hidden_layers(
      config, setup, params, saved, log.append, stop)
  assert _moved(params, found) == [True, True, False]
  name = next(name for name in trained if name.endswith('layer_1'))
  np.testing.assert_array_equal(found[name]['u'], trained[name]['u'])
  assert 'other.npz' in log[-1]


def test_hidden_layers_of_another_net_are_refused_in_one_line(made, tmp_path):
  config, setup = made
  params, saved, log, stop = _begun(made, tmp_path / 'pretraining')
  params_file.save(tmp_path / 'other.npz', params)
  config.network.convolutions = ((4, 5, 3), (9, 3, 2))
  config.training.begin_with = str(tmp_path / 'other.npz')
  setup = build.build(config)
  params = meta_training.make(config, setup).init(jax.random.key(1)).params
  with pytest.raises(errors.InputError, match='another net'):
    pretraining.hidden_layers(config, setup, params, saved, log.append, stop)
  config.training.begin_with = str(tmp_path / 'missing.npz')
  with pytest.raises(errors.InputError, match='no such file'):
    validation.check(config)


def _begun(made, folder):
  """Returns random parameters, no checkpoints, a log and no signal."""
  config, setup = made
  log, stop = [], signals.StopRequest()
  facts = {'config': workdir.as_json(config), 'environment': {}}
  return (meta_training.make(config, setup).init(jax.random.key(0)).params,
          pretraining_checkpoints.PretrainingCheckpoints(
              folder, facts, log.append, stop), log, stop)


def _moved(before, after):
  """Returns of each crossbar whether its weights changed."""
  return [bool(jnp.any(before[module]['u'] != values['u']))
          for module, values in sorted(after.items()) if 'u' in values]
