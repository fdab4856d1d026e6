"""Defaults, the config files that differ from them, and their variants."""

import ast
import inspect
import pathlib

import ml_collections
import pytest

from configs import float as float_config
from configs import nmnist
from configs import omniglot
from configs import pcm
from configs import perf
from meta_analog.config import default_fields
from meta_analog.config import defaults
from meta_analog.config import task_defaults

ROOT = pathlib.Path(__file__).parents[2]
MODULES = (pcm, perf, float_config, omniglot, nmnist)
IDS = [module.__name__.rpartition('.')[-1] for module in MODULES]
# Of each config some values that decide its numbers.
PINNED = {
    pcm: {
        'name': 'pcm', 'device': 'pcm', 'task.name': 'sinusoid',
        'task.support_size': 20, 'network.hidden_sizes': (40, 40),
        'network.input_channels': 8, 'network.tau_mem_ms': 10.0,
        'crossbar.hidden_devices': 4, 'crossbar.floor_uS': 0.1,
        'crossbar.fresh_read_share': 0.65, 'periphery.adc_range': 4.0,
        'adapt.rule': 'ridge', 'adapt.encoding': 'descent',
        'adapt.update_bits': 5, 'adapt.t_prog_s': 101.0,
        'verification.delay_s': 0.25, 'init.weight_max': (9.0, 9.0, 20.0),
        'init.harm': 0.15, 'training.num_steps': 1200,
        'training.tasks_per_step': 32, 'training.learning_rate': 1e-2,
        'training.noise_full': 0.1, 'evaluation.t_test_s': 251.0,
        'device_params.pcm.g_max_uS': 12.0, 'prices.set_pJ': 10.0},
    omniglot: {
        'name': 'omniglot', 'device': 'pcm', 'task.way': 5, 'task.shot': 1,
        'task.support_size': 5, 'task.query_size': 25, 'task.centred': True,
        'network.hidden_sizes': (), 'network.code': 'current',
        'network.convolutions': ((16, 7, 2), (32, 5, 2), (64, 5, 2)),
        'network.num_time_steps': 4, 'network.dt_ms': 1.0,
        'network.tau_mem_ms': 2.0, 'network.surrogate_slope': 3.0,
        'adapt.rule': 'delta', 'adapt.encoding': 'nearest',
        'adapt.num_steps': 30, 'init.rate': 0.02, 'init.penalty': 1e-2,
        'init.weight_max': (3.0, 1.5, 0.125), 'training.num_steps': 200,
        'training.pretrain_steps': 12000, 'training.pretrain_way': 20,
        'training.noise_full': 0.2, 'training.rate_max_Hz': 250.0,
        'evaluation.after_s': (251.0, 86400.0, 2592000.0)},
    perf: {
        'device': 'ideal', 'crossbar.output_devices': 1,
        'crossbar.floor_uS': 0.0, 'adapt.update_bits': 2, 'init.harm': 1e-3,
        'training.num_steps': 1000, 'training.noise_full': 0.0},
    float_config: {
        'device': 'ideal', 'periphery.adc_bits': 32, 'adapt.write': 'exact',
        'adapt.encoding': 'nearest', 'crossbar.hidden_devices': 1},
    nmnist: {
        'task.pool': 2, 'network.code': 'events', 'network.dt_ms': 30.0,
        'network.num_time_steps': 10, 'training.rate_max_Hz': 15.0,
        'training.pretrain_way': 16},
}


@pytest.mark.parametrize('module', MODULES, ids=IDS)
def test_the_values_of_a_config_are_pinned(module):
  found = defaults.flat(module.get_config())
  assert {name: found[name] for name in PINNED[module]} == PINNED[module]


@pytest.mark.parametrize('module', MODULES, ids=IDS)
def test_a_variant_changes_fields_that_exist_and_no_others(module):
  base = defaults.flat(module.get_config())
  for name, changes in module.VARIANTS.items():
    assert set(changes) <= set(base)
    found = defaults.flat(module.get_config(name))
    assert found.pop('variant') == name
    follow = {'task.support_size', 'task.query_size'}  # from way and shots
    assert {field for field in found
            if found[field] != base[field]} <= set(changes) | follow


def test_a_config_file_is_short():
  for path in (ROOT / 'configs').glob('*.py'):
    assert len(path.read_text().splitlines()) <= 100, path.name


def assigned(module):
  """Yields (field, line) of every field that a module assigns."""
  for node in ast.walk(ast.parse(inspect.getsource(module))):
    if isinstance(node, ast.Assign):
      target = ast.unparse(node.targets[0])
      if target.startswith('c.'):
        yield target[2:], node.lineno


def test_each_default_is_assigned_once_and_has_a_comment():
  fields = []
  for module in (default_fields, task_defaults):
    lines = inspect.getsource(module).splitlines()
    for field, number in assigned(module):
      section = field.count('.') == 0 and 'ConfigDict()' in lines[number - 1]
      if not section:
        fields.append(field)
        above, line = lines[number - 2].strip(), lines[number - 1]
        text = line.partition('#')[2] or (above[1:] if above[:1] == '#' else '')
        assert len(text.strip()) > 3, field
  # Sizes of a task, which follow from other fields where there are classes.
  assert {field for field in fields if fields.count(field) > 1} == {
      'task.support_size', 'task.query_size'}


def test_an_unknown_variant_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match="'huge'.*tiny, single_pulse"):
    pcm.get_config('huge')


def test_a_colon_between_variants_is_refused_with_the_way_out():
  with pytest.raises(ValueError, match='use commas'):
    pcm.get_config('tiny:delta')


def test_variants_are_applied_in_order():
  changes = {'a': {'seed': 1}, 'b': {'seed': 2}}
  for argument, seed in (('a,b', 2), ('b,a', 1), ('', 0)):
    config = defaults.with_variants(
        defaults.get_config(), changes, argument)
    assert config.seed == seed and config.variant == argument


def test_a_config_is_locked_by_its_variants_and_not_before():
  config = defaults.get_config()
  assert not config.is_locked
  assert defaults.with_variants(config, {}).is_locked
  with pytest.raises((AttributeError, KeyError)):
    config.training.num_step = 3


def test_a_field_that_the_defaults_lack_is_refused_with_a_near_one():
  config = defaults.get_config()
  config.training.num_step = 3
  with pytest.raises(ValueError, match='num_step: .*training.num_steps'):
    defaults.with_variants(config, {})


def test_a_variant_of_an_unknown_field_is_refused():
  with pytest.raises(KeyError, match='num_step'):
    defaults.with_variants(
        defaults.get_config(), {'a': {'training.num_step': 1}}, 'a')


def test_defaults_of_an_unknown_task_are_refused():
  with pytest.raises(ValueError, match="'cosine'.*sinusoid, omniglot, nmnist"):
    defaults.get_config('cosine')


def test_two_configs_share_no_values():
  one, other = defaults.get_config(), defaults.get_config()
  one.device_params.pcm.g_max_uS = 1.0
  one.prices.set_pJ = 0.0
  assert isinstance(other, ml_collections.ConfigDict)
  assert other.device_params.pcm.g_max_uS == 12.0
  assert other.prices.set_pJ == 10.0
