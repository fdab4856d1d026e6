"""Bad values are refused in one line that names the field and the way out."""

import inspect

import pytest

from configs import float as float_config
from configs import pcm
from configs import perf
from meta_analog.config import checks
from meta_analog.config import config_files
from meta_analog.config import defaults
from meta_analog.config import hardware_validation
from meta_analog.config import noise_sources
from meta_analog.config import timeline
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.learning import update_rules
from meta_analog.tasks import registry as task_registry
from tests.helpers import small_data

BAD = {
    'seed': -1,
    'device': 'flash',
    'device_params.pcm.nu_std': -0.01,
    'device_params.pcm.t0_s': -1.0,
    'device_params.pcm.c3_uS': float('nan'),
    'device_params.pcm.g_min_uS': 13.0,
    'device_params.pcm.memory_pulses': 0.0,
    'device_params.pcm.m2': -0.1,
    'device_params.pcm.pulse_memory_after_program': 5.0,
    'device_params.ideal.step_uS': 0.0,
    'device_params.ideal.noise_scale': -1.0,
    'device_params.pcm_like.read_noise_from': 'guess',
    'device_params.pcm_like.program_p0_uS': -0.1,
    'device_params.pcm_like.program_p1_uS': float('inf'),
    'device_params.pcm_like.nu_std_min': 0.05,  # above nu_std_max
    'device_params.pcm_like.t_read_s': 20.0,  # not below t0_s
    'device_params.pcm_like.set_range_uS': 0.0,
    'device_params.hermes.read_break': 1.5,
    'device_params.hermes_pair.read_noise_from': 'both',
    'task.name': 'cosine',
    'task.support_size': 0,
    'task.query_size': 0,
    'task.amplitude_min': 6.0,
    'network.hidden_sizes': (40, 0),
    'network.num_time_steps': 0,
    'network.tau_mem_ms': 0.0,
    'network.surrogate': 'relu',
    'network.reset': 'sometimes',
    'network.neuron': 'glia',
    'network.readout_start': 100,
    'crossbar.hidden_devices': 0,
    'crossbar.span_uS': 13.0,
    'crossbar.floor_uS': 0.01,
    'crossbar.fresh_read_share': 1.5,
    'crossbar.drift_compensation': 'magic',
    'crossbar.calibrate_after_s': 100.0,  # not before the first read
    'crossbar.stuck_fraction': 1.5,
    'crossbar.stuck_high_share': -0.5,
    'periphery.dac_bits': 0,
    'periphery.adc_bits': 0,
    'periphery.adc_range': 0.0,
    'periphery.tile_rows': 0,
    'periphery.gain_std': -0.1,
    'periphery.ir_drop': -1.0,
    'prices.set_pJ': -1.0,
    'prices.parallel_writes': 0.0,
    'device_params.pcm.g_reset_uS': 12.5,  # above g_max_uS
    'device_params.pcm.g_reset_min_uS': 12.5,
    'device_params.hermes.g_reset_uS': 1e3,
    # Of no use to anybody, even where nothing is verified.
    'verification.tolerance_uS': -1.0,
    'verification.max_pulses': 0,
    'verification.read_span_s': -0.1,
    'verification.fresh_share': 1.5,
    'adapt.write': 'blindly',
    'adapt.refresh': 'daily',
    'adapt.refresh_pulses': 0,
    'evaluation.programming': 'magic',
    'adapt.update_bits': 0,
    'adapt.rule': 'hebb',
    'adapt.encoding': 'analog',
    'adapt.layers': 'first',
    'adapt.order': 'third',
    'adapt.num_events': 0,
    'adapt.num_steps': 0,
    'adapt.t_read_s': -1.0,
    'adapt.t_prog_s': 99.0,
    'init.weight_std': (1.0, -1.0, 1.0),
    'training.num_steps': -5,
    'training.tasks_per_step': 0,
    'training.tasks_per_chip': 5,
    'training.tasks_at_once': 3,
    'training.chips_per_chunk': -1,
    'training.learning_rate': 0.0,
    'training.t_query_s': 50.0,
    'training.rate_min_Hz': 500.0,
    'evaluation.num_tasks': 7,
    'evaluation.t_test_s': 100.5,
    'evaluation.after_s': (151.0, -1.0),
    'evaluation.noise_scale': -0.5,
    'evaluation.adapt_anew': 'daily',
}


@pytest.mark.parametrize('field', sorted(BAD))
def test_a_value_that_cannot_be_is_refused_by_name(field):
  config = pcm.get_config()
  config.update_from_flattened_dict({field: BAD[field]})
  with pytest.raises(errors.InputError) as error:
    validation.check(config)
  message = str(error.value)
  assert field.split('.')[-1] in message
  assert '\n' not in message


@pytest.mark.parametrize('task, rows', [('sinusoid', 640), ('omniglot', 1025)])
def test_a_layer_takes_at_most_64_tiles_of_rows(
    task, rows, tmp_path, monkeypatch):
  config = defaults.get_config(task)
  if task == 'sinusoid':
    config.network.hidden_sizes = (40, 639)
  else:
    small_data.use_omniglot(tmp_path, monkeypatch)
    config.task.data_dir = str(tmp_path / 'omniglot')
    config.task.way = config.training.pretrain_way = 2
    config.task.query_shot = 1
  config.periphery.tile_rows = least = -(-rows // 64)
  validation.check(config)
  config.periphery.tile_rows = least - 1
  with pytest.raises(errors.InputError, match=(
      rf'^config.periphery.tile_rows = {least - 1}: must be at least {least}, '
      rf'so that the {rows} rows of a layer take at most 64 tiles$')):
    validation.check(config)


@pytest.mark.parametrize('changes', [
    {'evaluation.t_test_s': 2.0**31},  # beyond the chip's clock
    {'evaluation.after_s': (251.0, 2.0**31)},
    {'adapt.encoding': 'threshold'},  # one pulse, but update_bits is not 2
    {'adapt.layers': 'all'},  # with ridge
    {'adapt.num_events': 3, 'adapt.event_interval_s': 0.5},
    # Below what the mean of so many reads can tell.
    {'adapt.write': 'verified', 'verification.tolerance_uS': 0.01},
    {'evaluation.programming': 'verified', 'verification.num_reads': 1},
    # The hidden layers have more devices per polarity, and more noise.
    {'adapt.write': 'verified', 'adapt.layers': 'all', 'adapt.rule': 'delta',
     'crossbar.hidden_devices': 16},
    # The test reads with more noise than the device has.
    {'evaluation.programming': 'verified', 'evaluation.noise_scale': 3.0},
    # The last check would come after the query.
    {'adapt.write': 'verified', 'verification.delay_s': 5.0},
    # Above the highest state.
    {'adapt.write': 'verified', 'verification.level_uS': 12.5},
    # One step of a device that goes both ways is 1 uS.
    {'device': 'ideal', 'adapt.write': 'verified',
     'verification.tolerance_uS': 0.45},
    # The support set would be shown before the first query.
    {'evaluation.adapt_anew': 'before_each_test',
     'evaluation.after_s': (251.0, 301.0)},
    {'adapt.refresh': 'threshold', 'adapt.refresh_level_uS': 4.0},
    {'adapt.refresh': 'threshold', 'adapt.refresh_level_uS': 13.0},
    {'adapt.refresh': 'update_ready', 'adapt.refresh_ceiling_uS': 0.0},
])
def test_a_combination_that_cannot_be_is_refused(changes):
  config = pcm.get_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(errors.InputError) as error:
    validation.check(config)
  assert 'config.' in str(error.value) or 'adapt.' in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('module', [pcm, perf, float_config])
def test_every_config_and_variant_is_accepted(module):
  for variant in ('', *module.VARIANTS):
    validation.check(module.get_config(variant))


def test_refresh_is_refused_where_pulses_go_both_ways():
  config = perf.get_config()
  config.adapt.refresh = 'threshold'
  with pytest.raises(errors.InputError, match='adapt.refresh = .*both ways'):
    validation.check(config)


@pytest.mark.parametrize('module', [pcm, perf])
def test_verified_programming_and_writing_are_accepted_as_they_are(module):
  config = module.get_config()
  config.update_from_flattened_dict({
      'evaluation.programming': 'verified', 'adapt.write': 'verified'})
  validation.check(config)


@pytest.mark.parametrize('first_s, limit_s', [(145.0, 4.0), (400.0, 19.0)])
def test_a_written_array_is_measured_before_it_serves_any_test(
    first_s, limit_s):
  # The last of three events is written at 141 s, the one before 19 s earlier
  # than the support set is shown again.
  config = pcm.get_config('closed_loop')
  config.evaluation.after_s = (500.0, first_s)
  assert timeline.settle_limit_s(config) == limit_s


@pytest.mark.parametrize('change', [
    {'init.weight_std': ('a', 1.0, 2.0)}, {'evaluation.after_s': ('x',)}])
def test_a_word_among_numbers_is_refused_in_one_line(change):
  config = pcm.get_config()
  config.update_from_flattened_dict(change)
  with pytest.raises(errors.InputError) as error:
    validation.check(config)
  assert '\n' not in str(error.value)


def test_a_config_that_lacks_a_field_is_refused_by_its_name():
  config = pcm.get_config().copy_and_resolve_references()
  with config.unlocked():
    del config.adapt.num_events
  with pytest.raises(errors.InputError, match='^the config lacks num_events:'):
    validation.check(config)
  with config.unlocked():  # a name that is near, in a second line
    config.adapt.num_event = 1
  with pytest.raises(errors.InputError, match='^the config lacks num_events: '
                     'one of a run has it, one of a study has not$'):
    validation.check(config)


def test_variants_combine():
  config = pcm.get_config('single_pulse,tiny')
  assert config.adapt.encoding == 'threshold'
  assert config.training.num_steps == pcm.VARIANTS['tiny']['training.num_steps']


@pytest.mark.parametrize(
    'module', [checks, hardware_validation, noise_sources])
def test_checks_know_of_nothing_that_builds(module):
  assert 'config import build' not in inspect.getsource(module)


def test_a_check_makes_no_task(monkeypatch):
  def refuse(*args, **kwargs):
    raise AssertionError('made')

  monkeypatch.setattr(task_registry, 'make', refuse)
  monkeypatch.setattr(update_rules, 'make', refuse)
  validation.check(pcm.get_config())


def test_the_config_of_a_study_is_refused_as_that_of_a_run():
  study = config_files.load('studies/sinusoid')
  with pytest.raises(errors.InputError, match='lacks task: .* a study'):
    validation.check(study)
