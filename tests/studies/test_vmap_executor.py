"""Tests of vmapped seeds: each leaves the folder of its separate run."""

import json
import shutil

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest

from configs import omniglot
from configs import pcm
from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.experiment import reproduce
from meta_analog.experiment import run as run_lib
from meta_analog.runtime import compilation
from meta_analog.studies import vmap_executor
from meta_analog.training import ensemble
from meta_analog.training import meta_training
from tests.helpers import runs

# As many steps as let XLA compile as for any longer run.
SMALL = {
    'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
    'training.num_steps': compilation.SHORT_RUN, 'training.tasks_per_step': 4,
    'training.checkpoint_every': 25, 'training.log_every': 10,
    'training.noise_full': 0.0, 'training.warmup_fraction': 0.0,
    'evaluation.num_tasks': 8, 'evaluation.after_s': (251.0,),
    'evaluation.ordinary_steps': 2}
SEEDS = (3, 1)


def _config():
  config = pcm.get_config('tiny')
  config.update_from_flattened_dict(SMALL)
  return config


def test_seeds_that_are_pretrained_are_refused():
  config = omniglot.get_config('tiny')
  config.training.update(pretrain_steps=0, begin_with='')
  vmap_executor.check(config)
  config.training.pretrain_steps = 5
  with pytest.raises(errors.InputError, match='pretrain_steps = 5.*--vmap'):
    vmap_executor.check(config)


def test_a_step_that_is_not_finite_names_its_seed(tmp_path):
  config = _config()
  each = vmap_executor._seeds(config, (0, 1), tmp_path)
  each[1].folder.mkdir()
  state = ensemble.make(config, 2).init(vmap_executor._keys(each, 'init'))
  names = meta_training.make(config, build.build(config)).names(
      ensemble.state_of(state, 1).params)
  finite = np.ones((2, len(names)), bool)
  finite[1, 0] = False
  info = {'finite': finite, 'loss': np.array([1.0, np.nan]),
          'gradient_norm': np.ones(2)}
  with pytest.raises(errors.NonFiniteError) as error:
    vmap_executor._not_finite(each, 7, state, info)
  folder = tmp_path / 'seed=1'
  assert 'seed=1, step 7: not finite: loss' in str(error.value)
  assert f'--workdir {folder}' in str(error.value)
  facts = json.loads((folder / reproduce.FOLDER / 'manifest.json').read_text())
  assert facts['step'] == 7 and facts['config']['seed'] == 1
  assert json.loads((folder / 'config.json').read_text())['seed'] == 1


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
def trained(cache, tmp_path_factory):
  """Returns a folder with vmapped/ of two seeds and their runs/."""
  folder = tmp_path_factory.mktemp('study')
  vmap_executor.run(
      _config(), SEEDS, str(folder / 'vmapped'), str(folder / 'runs'))
  return folder


@pytest.mark.slow
def test_a_seed_leaves_the_folder_of_its_separate_run(trained, tmp_path):
  config, folder = _config(), trained / 'runs/seed=1'
  config.seed = 1
  run_lib.run(config, str(tmp_path / 'alone'))
  own = lambda path: {
      str(file.relative_to(path)) for file in path.rglob('*')
      if file.is_file() and 'checkpoints' not in file.parts
      and 'tensorboard' not in file.parts}
  assert own(folder) == own(tmp_path / 'alone')
  assert runs.newest(folder) == compilation.SHORT_RUN
  alone, vmapped = (np.load(path / 'parameters.npz')
                    for path in (tmp_path / 'alone', folder))
  for name in alone.files:  # up to rounding, over all steps
    np.testing.assert_allclose(
        vmapped[name], alone[name], rtol=0,
        atol=5e-3 * max(1.0, np.max(np.abs(alone[name]))), err_msg=name)
  first, second = (runs.lines(path) for path in (tmp_path / 'alone', folder))
  assert [line['step'] for line in first] == [line['step'] for line in second]
  assert np.isclose(first[0]['loss'], second[0]['loss'], rtol=1e-3)
  assert json.loads((folder / 'config.json').read_text()) == json.loads(
      (tmp_path / 'alone/config.json').read_text())


@pytest.mark.slow
def test_seeds_that_stopped_resume_and_end_the_same(trained, tmp_path):
  folder = tmp_path / 'study'
  shutil.copytree(trained, folder)
  kept = (folder / 'runs/seed=3/summary.json').read_bytes()
  shutil.rmtree(folder / 'runs/seed=1')
  shutil.rmtree(folder / 'vmapped/checkpoints/50')
  vmap_executor.run(
      _config(), SEEDS, str(folder / 'vmapped'), str(folder / 'runs'))
  assert (folder / 'runs/seed=3/summary.json').read_bytes() == kept
  first, second = (runs.outcome(f / 'runs/seed=1') for f in (trained, folder))
  assert first == second
  assert runs.state(trained / 'vmapped') == runs.state(folder / 'vmapped')


@pytest.mark.slow
def test_a_vmapped_run_is_tested_again_as_any_run(trained):
  folder = trained / 'runs/seed=3'
  summary = json.loads((folder / 'summary.json').read_text())
  config = _config()
  config.seed = 3
  again = run_lib.run(config, str(folder), 'evaluate')
  assert again['after'] == summary['after']
