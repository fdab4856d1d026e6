"""Tests of sweeps: what they set, and that a member is its separate run."""

import json
import shutil

import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import numpy as np
import pytest

from configs import omniglot
from configs import pcm
from configs import perf
from meta_analog.config import build
from meta_analog.config import sweep_settings
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import reproduce
from meta_analog.experiment import run
from meta_analog.experiment import sweep_run
from meta_analog.runtime import compilation
from meta_analog.training import ensemble
from meta_analog.training import meta_training
from meta_analog.training import training_loop
from tests.helpers import runs

# As many steps as let XLA compile as for any longer run, see
# compilation.options: with less optimisation, bits differ.
SMALL = {
    'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
    'training.num_steps': compilation.SHORT_RUN, 'training.tasks_per_step': 4,
    'training.checkpoint_every': 25, 'training.log_every': 10,
    'training.noise_full': 0.0, 'training.warmup_fraction': 0.0,
    'evaluation.num_tasks': 8, 'evaluation.after_s': (251.0,),
    'evaluation.ordinary_steps': 2}


def _config(**sweep):
  config = pcm.get_config('tiny')
  config.update_from_flattened_dict(SMALL)
  config.sweep.update(sweep)
  return config


@pytest.mark.parametrize('sweep, word', [
    ({'seeds': (-1,)}, 'sweep.seeds'),
    ({'seeds': (0, 2**32)}, 'sweep.seeds'),
    ({'seeds': (0, 1.5)}, '1.5'),
    ({'seeds': (True,)}, 'True'),
    ({'seeds': (0, 1, 0)}, 'sweep.seeds'),
    ({'noise_scales': (1.0, -0.5)}, 'sweep.noise_scales'),
    ({'noise_scales': (float('nan'),)}, 'sweep.noise_scales'),
    ({'noise_scales': (1, 1.0)}, 'sweep.noise_scales'),
    ({'noise_scales': ('much',)}, 'much'),
    ({'learning_rates': (0.0, 1e-2)}, 'sweep.learning_rates'),
    ({'learning_rates': (1e-2, 1e-2)}, 'sweep.learning_rates'),
    ({'seeds': (0, 1, 2), 'members_at_once': 2}, 'members_at_once'),
    ({'members_at_once': -1}, 'members_at_once'),
])
def test_a_sweep_that_cannot_be_is_refused_in_one_line(sweep, word):
  with pytest.raises(errors.InputError, match=word) as error:
    validation.check(_config(**sweep))
  assert 'config.sweep.' in str(error.value)
  assert '\n' not in str(error.value)


def test_members_are_not_pretrained():
  config = omniglot.get_config('tiny')
  config.training.pretrain_steps = 5
  sweep_settings.check(config)
  config.sweep.seeds = (0, 1)
  with pytest.raises(ValueError, match='config.training.pretrain_steps = 5'):
    sweep_settings.check(config)


def test_noise_is_not_swept_on_a_device_without_noise():
  config = perf.get_config()
  config.sweep.noise_scales = (1.0, 2.0)
  with pytest.raises(errors.InputError, match='ideal'):
    validation.check(config)


def test_the_noise_of_every_member_is_checked():
  config = pcm.get_config()
  config.adapt.write = 'verified'
  config.sweep.noise_scales = (0.5, 1.0)
  validation.check(config)
  config.sweep.noise_scales = (0.5, 2.0)  # looks cannot tell 0.7 uS apart
  with pytest.raises(errors.InputError, match='verification.tolerance_uS'):
    validation.check(config)


def test_members_are_the_product_of_the_axes():
  assert sweep_settings.members(_config()) == ()
  config = _config(seeds=(3, 4), learning_rates=(1e-3, 0.1))
  members = sweep_settings.members(config)
  assert [member.name for member in members] == [
      'seed=3,learning_rate=0.001', 'seed=3,learning_rate=0.1',
      'seed=4,learning_rate=0.001', 'seed=4,learning_rate=0.1']
  separate = sweep_settings.config_of(config, members[-1])
  assert (separate.seed, separate.training.learning_rate) == (4, 0.1)
  assert separate.device_params.pcm.noise_scale == 1.0
  assert sweep_settings.members(separate) == ()


@pytest.mark.parametrize('width', [1, 2, 6])
def test_grouping_changes_no_result(width):
  items = jnp.arange(6.0), jnp.arange(12.0).reshape(6, 2)
  out = ensemble.grouped_map(lambda item: item[0] * item[1], width, items)
  assert np.array_equal(out, items[0][:, None] * items[1])


def test_a_single_member_is_not_batched():
  seen = []
  ensemble.grouped_map(
      lambda x: seen.append('BatchTracer' in type(x).__name__) or x, 1,
      jnp.zeros((3, 2)))
  ensemble.grouped_map(
      lambda x: seen.append('BatchTracer' in type(x).__name__) or x, 3,
      jnp.zeros((3, 2)))
  assert seen[0] is False and seen[-1] is True


def test_the_silence_of_a_layer_names_its_member():
  said = []
  silence = training_loop._Silence(said.append, 'seed=1')
  silence.update(3, [10.0, 0.0])
  assert 'hidden layer 2 of seed=1 is dead at step 3' in said[0]


def test_a_step_that_is_not_finite_names_its_member(tmp_path):
  config = _config(seeds=(0, 1))
  members = sweep_run._members(_Run(config, tmp_path))
  state = ensemble.make(config).init(sweep_run._keys(members, 0))
  names = meta_training.make(config, build.build(config)).names(
      ensemble.member_state(state, 1).params)
  finite = np.ones((2, len(names)), bool)
  finite[1, 0] = False
  info = {'finite': finite, 'loss': np.array([1.0, np.nan]),
          'gradient_norm': np.ones(2)}
  with pytest.raises(errors.NonFiniteError) as error:
    sweep_run._not_finite(members, 7, state, info)
  folder = tmp_path / 'members' / 'seed=1'
  assert 'member seed=1, step 7: not finite: loss' in str(error.value)
  assert f'--workdir {folder}' in str(error.value)
  facts = json.loads((folder / reproduce.FOLDER / 'manifest.json').read_text())
  assert facts['step'] == 7 and facts['config']['seed'] == 1
  assert json.loads((folder / 'config.json').read_text())['seed'] == 1


class _Run:
  """As much of experiment.Run as members need."""

  def __init__(self, config, folder):
    self.config, self.folder = config, folder


SWEPT = {'seeds': (1,), 'noise_scales': (0.5, 2.0), 'learning_rates': (3e-3,)}
NAME = 'seed=1,noise_scale=2,learning_rate=0.003'


@pytest.mark.slow
def test_a_member_takes_the_steps_of_its_separate_run():
  # Up to rounding: XLA fuses a step within a loop over members otherwise.
  config = _config(**SWEPT)
  configs = [sweep_settings.config_of(config, member)
             for member in sweep_settings.members(config)]
  separate = meta_training.make(configs[1], build.build(configs[1]))
  together = ensemble.make(config)
  keys = lambda c: jax.random.split(jax.random.key(c.seed))
  state = jax.jit(separate.init)(keys(configs[1])[0])
  states = together.init(jnp.stack([keys(c)[0] for c in configs]))
  assert _same(ensemble.member_state(states, 1), state)
  for step in range(2):
    state, info = separate.update(state, keys(configs[1])[1])
    states, infos = together.update(
        states, jnp.stack([keys(c)[1] for c in configs]))
    found = (ensemble.member_state(states, 1),
             jax.tree.map(lambda x: x[1], infos))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves((state, info)),
                    strict=True):
      np.testing.assert_allclose(
          a, b, rtol=0, atol=1e-3 * np.max(np.abs(b)), err_msg=str(step))
  other = ensemble.member_state(states, 0)
  assert not np.allclose(jax.tree.leaves(other.params)[-1],
                         jax.tree.leaves(state.params)[-1], rtol=1e-2)


def _same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(
      jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """All runs of this file share what they compile."""
  changes = {'jax_compilation_cache_dir': str(tmp_path_factory.mktemp('cache')),
             'jax_persistent_cache_min_compile_time_secs': 0.0,
             'jax_persistent_cache_min_entry_size_bytes': -1}
  before = {name: getattr(jax.config, name) for name in changes}
  for values in (changes, before):
    for name, value in values.items():
      jax.config.update(name, value)
    compilation_cache.reset_cache()
    if values is changes:
      yield


@pytest.fixture(scope='module')
def swept(cache, tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs') / 'swept'
  run.run(_config(**SWEPT), str(folder))
  return folder


@pytest.mark.slow
def test_a_sweep_leaves_all_its_files(swept):
  summary = json.loads((swept / 'summary.json').read_text())
  assert [member['name'] for member in summary['members']][1] == NAME
  assert summary['members'][1]['set'] == {
      'seed': 1, 'noise_scale': 2.0, 'learning_rate': 3e-3}
  assert {'steps', 'tasks_per_step', 'wall_s', 'tasks_per_s'} <= set(
      summary['training'])
  assert (swept / 'figures' / 'sweep.png').stat().st_size > 5000
  lines = runs.lines(swept)
  assert [line['step'] for line in lines] == [1, 10, 20, 30, 40, 50]
  assert all(len(line['loss']) == 2 for line in lines)
  folder = swept / 'members' / NAME
  single = json.loads((folder / 'summary.json').read_text())
  for name in ('before', 'after', 'after_by_time_s', 'write', 'baselines'):
    assert summary['members'][1][name] == single[name]
  for name in ('config.json', 'metrics.jsonl', 'chip.npz', 'evaluation.npz',
               'checkpoints', 'figures/adaptation.png', 'figures/training.png'):
    assert (folder / name).exists(), name


@pytest.mark.slow
def test_a_sweep_that_stopped_goes_on_and_ends_the_same(swept, tmp_path):
  folder = tmp_path / 'stopped'
  shutil.copytree(swept, folder)
  (folder / 'summary.json').unlink()
  shutil.rmtree(folder / 'members')
  shutil.rmtree(folder / 'checkpoints' / '50')
  run.run(_config(**SWEPT), str(folder))
  first, second = (json.loads((f / 'summary.json').read_text())
                   for f in (swept, folder))
  del first['training'], second['training']
  assert first == second and runs.lines(swept) == runs.lines(folder)
  assert runs.state(swept) == runs.state(folder)


@pytest.mark.slow
def test_a_sweep_and_its_members_can_be_tested_again(swept, tmp_path):
  folder = tmp_path / 'again'
  shutil.copytree(swept, folder)
  before = (folder / 'summary.json').read_bytes()
  summary = json.loads(before)
  again = run.run(_config(**SWEPT), str(folder), 'evaluate')
  assert json.loads(json.dumps(again['members'])) == summary['members']
  assert (folder / 'summary.json').read_bytes() == before
  config = _config(**SWEPT)
  member = sweep_settings.config_of(config, sweep_settings.members(config)[1])
  alone = run.run(member, str(folder / 'members' / NAME), 'evaluate')
  assert alone['after'] == summary['members'][1]['after']
  for other in ({}, {'seeds': (1, 2)}):
    with pytest.raises(errors.InputError, match='sweep cannot be changed'):
      run.run(_config(**other), str(folder), 'evaluate')
  with pytest.raises(errors.InputError, match='name the folder of a member'):
    run.run(config, str(folder), 'energy')
