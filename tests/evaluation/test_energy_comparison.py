"""Ways to write are compared for every shipped config, or left out by name."""

import importlib
import json

import pytest

from meta_analog.config import config_files
from meta_analog.config import defaults
from meta_analog.core import errors
from meta_analog.evaluation import energy_comparison
from meta_analog.experiment import run
from tests.helpers import small_data

SHIPPED = [  # (config, variant), '' for none
    (name, variant) for name in config_files.names() if '/' not in name
    for variant in ('', *importlib.import_module(f'configs.{name}').VARIANTS)]


@pytest.fixture
def data(tmp_path, monkeypatch):
  small_data.use_omniglot(tmp_path, monkeypatch)
  small_data.nmnist(tmp_path / 'nmnist')
  return str(tmp_path)


def _config(name, variant, data):
  config = importlib.import_module(f'configs.{name}').get_config(variant)
  if config.task.name != 'sinusoid':
    config.task.data_dir = data
    config.task.way, config.task.shot, config.task.query_shot = 2, 1, 2
    config.training.pretrain_steps = 0
  return config


@pytest.mark.parametrize('name, variant', SHIPPED)
def test_every_shipped_config_has_ways_to_write(name, variant, data):
  config = _config(name, variant, data)
  found, left_out = energy_comparison.possible(config)
  assert found.keys() | left_out.keys() == energy_comparison.ways(
      config).keys()
  assert any(label.startswith('pulses') for label in found)
  for why in left_out.values():
    assert why.startswith('config.') and '\n' not in why


def test_a_verification_between_close_events_is_left_out(data):
  found, left_out = energy_comparison.possible(
      _config('pcm', 'closed_loop', data))
  assert set(found) == {'pulses, 1 device', 'pulses, 4 devices'}
  assert set(left_out) == {'verified, 1 device', 'verified, 4 devices'}
  assert 'config.verification.max_rounds = 100' in left_out[
      'verified, 1 device']


def test_no_way_at_all_is_refused(monkeypatch):
  def refuse(config):
    raise errors.InputError('config.seed = 1: must not be')

  monkeypatch.setattr(energy_comparison.validation, 'check', refuse)
  with pytest.raises(errors.InputError) as caught:
    energy_comparison.possible(defaults.get_config('sinusoid'))
  assert 'no way to write can be compared: pulses, 1 device: config.seed' in (
      str(caught.value))


@pytest.mark.slow
def test_a_net_of_several_events_is_compared(data, tmp_path, capsys):
  config = _config('pcm', 'tiny,closed_loop', data).unlock()
  config.update_from_flattened_dict({
      'network.hidden_sizes': (4,), 'network.num_time_steps': 8,
      'training.num_steps': 1, 'training.tasks_per_step': 4,
      'evaluation.num_tasks': 4, 'evaluation.num_chips': 2,
      'evaluation.after_s': (251.0,), 'evaluation.ordinary_steps': 2})
  run.run(config.lock(), str(tmp_path / 'run'))
  run.run(config, str(tmp_path / 'run'), 'energy')
  printed = capsys.readouterr().out
  found = json.loads((tmp_path / 'run' / 'energy.json').read_text())
  assert [row['label'] for row in found['cases']] == [
      'pulses, 1 device', 'pulses, 4 devices']
  assert set(found['left_out']) == {'verified, 1 device', 'verified, 4 devices'}
  named = printed.index('Left out: verified, 4 devices: config.verification')
  assert named < printed.index('Testing: pulses, 1 device')
  for row in found['cases']:
    assert row['energy']['adaptation_digital_nJ'] > 100 * row['energy'][
        'adaptation_write_nJ']
  assert (tmp_path / 'run' / 'figures' / 'energy.png').is_file()
