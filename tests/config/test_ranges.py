"""Numbers of a config: booleans, infinities and slips of the hand."""

import math

import pytest

from configs import nmnist
from configs import pcm
from meta_analog.config import defaults
from meta_analog.config import ranges
from meta_analog.config import task_defaults
from meta_analog.config import validation
from meta_analog.core import errors

# Checked otherwise: by their set of words, or by what they follow from.
DERIVED = ('task.support_size', 'task.query_size')
TASKS = sorted(task_defaults._TASKS)
HUGE = {
    'training.num_steps': 2**32, 'training.chips_per_chunk': 2**32,
    'network.num_time_steps': 2**31, 'crossbar.output_devices': 2**31,
    'network.hidden_sizes': (10**9,), 'evaluation.num_chips': 2**40,
    'adapt.num_events': 10**9, 'verification.max_pulses': 10**9}
NO_NUMBERS = {
    'network.hidden_sizes': (True, (True,), (4, 2.5), (), ('4',)),
    'evaluation.after_s': (('251',), (251.0, True), (math.nan,), 251.0),
    'init.weight_std': ((True, 1.0, 1.0), ('a', 1.0, 1.0), (1.0, 1.0)),
    'training.num_steps': (True,),
    'crossbar.hidden_devices': (True,),
    'network.dt_ms': (1e-320, math.nan, math.inf, 1e308, 0.0),
    'evaluation.noise_scale': (1e308, 1e39, math.nan),
    'evaluation.t_test_s': (1e308, math.inf),
    'prices.set_ns': (1e308, math.nan),
    'device_params.pcm.m1': (1e308, math.nan),
    'noise.output_read': (1e308, math.nan),
    'verification.tolerance_uS': (1e-320, math.inf),
}


def refusal(field, value):
  """Returns the line that refuses a config with this value."""
  values = defaults.flat(pcm.get_config())
  assert field in values
  config = pcm.get_config().copy_and_resolve_references()
  *sections, name = field.split('.')
  part = config
  for section in sections:
    part = part[section]
  with config.unlocked(), part.ignore_type():
    part[name] = value
  with pytest.raises(errors.InputError) as found:
    validation.check(config)
  message = str(found.value)
  assert '\n' not in message and field in message
  return message


@pytest.mark.parametrize('task', TASKS)
def test_every_whole_number_has_a_highest_value(task):
  table = ranges.table()
  for field, value in defaults.flat(defaults.get_config(task)).items():
    if isinstance(value, int) and not isinstance(value, bool):
      if task != 'sinusoid' and field in DERIVED:
        continue
      assert math.isfinite(table[field][1]), field


@pytest.mark.parametrize('task', TASKS)
def test_every_number_has_a_range_that_holds_its_default(task):
  table = ranges.table()
  for field, value in defaults.flat(defaults.get_config(task)).items():
    if field in table:
      low, high, closed = table[field]
      assert low <= value <= high and (closed or value > low), field


@pytest.mark.parametrize('field', sorted(HUGE))
def test_a_number_beyond_reason_is_refused_with_its_limit(field):
  assert 'at most' in refusal(field, HUGE[field]) or (
      field == 'network.hidden_sizes')


@pytest.mark.parametrize('field', [
    'network.num_time_steps', 'task.way', 'task.shot', 'task.query_shot',
    'training.pretrain_steps'])
def test_no_size_of_images_is_computed_before_it_is_checked(field):
  config = nmnist.get_config('tiny')
  config.update_from_flattened_dict({field: 2**31})
  with pytest.raises(errors.InputError, match=f'{field} = 2147483648: must be'):
    validation.check(config)


@pytest.mark.parametrize('field,value', [
    (field, value) for field, values in NO_NUMBERS.items() for value in values])
def test_what_is_no_number_of_float32_is_refused_by_name(field, value):
  refusal(field, value)


def test_a_network_without_a_hidden_layer_is_told_what_it_lacks():
  assert 'needs a hidden layer' in refusal('network.hidden_sizes', ())
