"""Every config loads and takes a step; what differs between them is stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import float as float_config
from configs import nmnist
from configs import omniglot
from configs import pcm
from configs import perf
from meta_analog.config import build
from meta_analog.training import meta_training
from tests.helpers import small_data

DIFFERENT = {
    'name', 'device', 'crossbar.hidden_devices', 'crossbar.output_devices',
    'crossbar.floor_uS', 'crossbar.fresh_read_share',
    'crossbar.drift_compensation', 'adapt.update_bits', 'init.harm',
    'training.noise_full', 'training.num_steps',
}
DIFFERENT_IN_FLOAT = {
    'name', 'periphery.dac_bits', 'periphery.dac_range', 'periphery.adc_bits',
    'periphery.adc_range', 'adapt.encoding', 'adapt.write',
}
# What is compiled and run; the others take their step in shapes only.
RUN = {(pcm, ''), (pcm, 'all_layers'), (perf, '')}
CASES = [(module, name) for module in (pcm, perf, float_config)
         for name in ('', *module.VARIANTS) if name != 'tiny']


def _flat(config, prefix=''):
  for name, value in config.items():
    if hasattr(value, 'items'):
      yield from _flat(value, f'{prefix}{name}.')
    else:
      yield f'{prefix}{name}', value


@pytest.mark.parametrize('one, other, different', [
    (pcm, perf, DIFFERENT), (perf, float_config, DIFFERENT_IN_FLOAT)])
def test_two_configs_differ_only_where_stated(one, other, different):
  a, b = dict(_flat(one.get_config())), dict(_flat(other.get_config()))
  assert a.keys() == b.keys()
  assert {name for name in a if a[name] != b[name]} <= different


@pytest.mark.slow
@pytest.mark.parametrize(
    'module, variant', CASES,
    ids=[f'{m.__name__.split(".")[-1]}:{v}' for m, v in CASES])
def test_a_config_takes_a_step_that_changes_its_parameters(module, variant):
  config = module.get_config(f'{variant},tiny')
  with config.unlocked():
    config.training.warmup_fraction = 0.0
    config.training.tasks_per_step = config.training.tasks_per_chip
  setup = build.build(config)
  trainer = meta_training.make(config, setup)
  if (module, variant) not in RUN:
    state = jax.eval_shape(trainer.init, jax.random.key(config.seed))
    new, info = jax.eval_shape(trainer.update, state, jax.random.key(1))
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(new) == shapes(state) and info['loss'].shape == ()
    return
  state = jax.jit(trainer.init)(jax.random.key(config.seed))
  state = state._replace(step=jnp.int32(3))  # in full noise
  new, info = trainer.update(state, jax.random.key(1))
  assert np.isfinite(info['loss']) and np.isfinite(info['gradient_norm'])
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.params,
                       new.params)
  assert sum(jax.tree.leaves(moved)) >= 4
  assert int(new.step) == 4


IMAGES = [(omniglot, name) for name in omniglot.VARIANTS if name != 'tiny'] + [
    (nmnist, name) for name in nmnist.VARIANTS if name != 'tiny']


def _image_config(module, variant, folder):
  """Returns a tiny config on small data."""
  config = module.get_config(f'tiny,{variant}')
  config.task.data_dir = str(folder)
  config.training.tasks_per_step = config.training.tasks_per_chip
  config.task.query_shot = 1
  config.training.pretrain_steps = 0
  return config


@pytest.fixture
def small_sets(tmp_path, monkeypatch):
  """Returns a folder of small data sets."""
  small_data.use_omniglot(tmp_path, monkeypatch)
  small_data.nmnist(tmp_path / 'nmnist', per_digit=60)
  return tmp_path


def test_the_config_of_images_names_the_fields_of_the_others():
  a, b = dict(_flat(pcm.get_config())), dict(_flat(omniglot.get_config()))
  of = lambda flat: {name for name in flat if not name.startswith('task.')}
  assert of(b) - of(a) == {
      'network.convolutions', 'network.code', 'training.logit_scale',
      'training.begin_with', 'training.pretrain_steps',
      'training.pretrain_way', 'training.pretrain_tasks',
      'training.pretrain_rate', 'training.pretrain_distortion'}
  assert of(a) <= of(b)
  c = dict(_flat(nmnist.get_config()))
  assert {name for name in of(b) if b[name] != c[name]} == {
      'name', 'network.code', 'network.num_time_steps', 'network.dt_ms',
      'network.tau_mem_ms', 'network.tau_out_ms', 'training.pretrain_steps',
      'training.pretrain_way', 'training.rate_min_Hz', 'training.rate_max_Hz'}


@pytest.mark.slow
@pytest.mark.parametrize(
    'module, variant', IMAGES,
    ids=[f'{m.__name__.split(".")[-1]}:{v}' for m, v in IMAGES])
def test_a_config_of_images_takes_a_step_in_shapes(module, variant, small_sets):
  config = _image_config(module, variant, small_sets)
  if module is omniglot:
    config.task.way = min(config.task.way, 4)  # of the small validation split
  setup = build.build(config)
  assert setup.task.num_outputs == config.task.way
  if variant != '5way1shot':  # the others are other numbers
    return
  trainer = meta_training.make(config, setup)
  state = jax.eval_shape(trainer.init, jax.random.key(0))
  new, info = jax.eval_shape(trainer.update, state, jax.random.key(1))
  shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert shapes(new) == shapes(state) and info['loss'].shape == ()
  assert info['rate_Hz'].shape == (2,)
