"""Sources of noise one by one: each factor scales its own and no other."""

import functools
import json

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
from meta_analog.config import noise_sources
from meta_analog.config import saved
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.devices import ideal
from meta_analog.devices import registry as device_registry
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir
from meta_analog.learning import learner as learner_lib
from meta_analog.networks import chip as chip_lib
from meta_analog.networks import network as network_lib
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from tests.helpers import small_networks as small

NOISY = sorted(name for name, family in device_registry.FAMILIES.items()
               if family.noise)
NUM_DEVICES = 2000
SOURCES = noise_sources.OF_A_LAYER + (noise_sources.SHARED,)


def configured(**noise):
  config = pcm.get_config('tiny')
  with config.unlocked():
    config.noise.update(noise)
  return config


@functools.cache
def measure_fn(name):
  """Returns a function of params to the standard deviations of a population."""
  family = device_registry.FAMILIES[name]
  target_uS = jnp.full(NUM_DEVICES, 0.4 * family.params().g_max_uS)

  @jax.jit
  def measure(params):
    device = device_registry.make(name, params, 1)
    state = device.program(jax.random.key(3), target_uS)
    mean = lambda state, elapsed_s: device.read_stats(
        state, jnp.float32(elapsed_s))[0]
    # The same devices pulsed twice: what differs is the noise of a pulse.
    once, again = (
        mean(device.pulse(jax.random.key(k), state, jnp.ones(NUM_DEVICES)), 1.0)
        for k in (4, 5))
    blank = device.reset(jax.random.key(6), state, target_uS > 0.0)
    return {'program': jnp.std(state.g_uS),
            'read': jnp.mean(device.read_stats(state, jnp.float32(100.0))[1]),
            'write': jnp.std(once - again), 'reset': jnp.std(blank.g_uS),
            'drift_spread': jnp.std(mean(state, 1e6) / mean(state, 1.0))}

  return measure


def measured(name, source, factor):
  """Returns a device's standard deviations, one of its sources scaled."""
  config = configured(**{
      source if source == 'drift_spread' else f'output_{source}': factor})
  with config.unlocked():
    config.device = name
  values = noise_sources.params_of(config, 'output')
  return jax.device_get(
      measure_fn(name)(device_registry.FAMILIES[name].params(
          **{
              field: value
              for field, value in values.items()
              if not isinstance(value, str)
          })))


@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('name', NOISY)
def test_a_factor_scales_its_source_and_no_other(name, source):
  full, half, none = (measured(name, source, f) for f in (1.0, 0.5, 0.0))
  assert none[source] < 1e-5 < 1e-3 < full[source]
  np.testing.assert_allclose(half[source], 0.5 * full[source], rtol=0.05)
  for other in set(SOURCES) - {source}:
    # Not equal: other noise brings devices to where theirs is another.
    np.testing.assert_allclose(none[other], full[other], rtol=0.15)


@pytest.mark.parametrize('name', NOISY)
def test_a_reset_is_a_write(name):
  assert measured(name, 'write', 1.0)['reset'] > 1e-3
  assert measured(name, 'write', 0.0)['reset'] < 1e-6


@pytest.mark.parametrize('field', noise_sources.FIELDS)
def test_a_field_reaches_its_layers_only(field, monkeypatch):
  monkeypatch.setattr(device_registry, 'make', lambda name, params, n: params)
  setup = build.build(
      configured(), lambda hardware, *args, **kwargs: hardware)
  default = setup.make_learner(1.0)
  assert default.hidden_device is None
  scaled = build.build(
      configured(**{field: 0.0}), lambda hardware, *args, **kwargs: hardware
  ).make_learner(1.0)
  for layer, i in (('hidden', 0), ('hidden', 1), ('output', 2)):
    found = chip_lib.devices_of(scaled, i)[0]
    changed = {name for name, before, now in zip(
        found._fields, default.device, found) if before != now}
    source = field.removeprefix(f'{layer}_')
    scaled_names = device_registry.FAMILIES['pcm'].noise.get(source, ())
    assert changed == {name for name in scaled_names if default.device._asdict(
        )[name] != 0}
    assert all(getattr(found, name) == 0 for name in changed)


def test_all_sources_on_is_the_device_as_it_was():
  config = configured()
  for layer in noise_sources.LAYERS:
    assert noise_sources.params_of(config, layer) == dict(
        config.device_params.pcm)
  assert not noise_sources.differ(config)


@pytest.mark.parametrize('module, noise', [
    (pcm, {'hidden_read': -0.5}), (pcm, {'drift_spread': float('nan')}),
    (perf, {'output_read': 0.0}), (float_config, {'drift_spread': 0.0})])
def test_a_factor_that_cannot_be_is_refused(module, noise):
  config = module.get_config()
  config.noise.update(noise)
  with pytest.raises(errors.InputError, match=f'noise.{list(noise)[0]} = '):
    validation.check(config)


def test_verification_is_checked_at_the_read_noise_of_its_layer():
  config = pcm.get_config()
  config.update_from_flattened_dict({
      'adapt.write': 'verified', 'noise.hidden_read': 5.0})
  validation.check(config)
  config.noise.output_read = 5.0
  with pytest.raises(errors.InputError, match='tolerance_uS'):
    validation.check(config)


def test_a_layer_is_programmed_read_and_written_on_its_own_device(monkeypatch):
  output, hidden = ideal.make(), ideal.make()
  used = {'program': [], 'read': [], 'write': []}
  read = array.read

  def program_fn(key, device, model, targets_uS, gain_per_uS):
    used['program'].append(device)
    return initial_programming.statistical(key, model, model, targets_uS,
                                           gain_per_uS)

  def read_fn(key, device, *args):
    used['read'].append(device)
    return read(key, device, *args)

  def write_fn(key, device, noise_free, crossbar, request):
    used['write'].append(device)
    return protocols.Written(
        crossbar, protocols.Counts(0.0, 0.0, 0.0, 0.0), 0.0)

  def compute_updates(key, network, rule, readings, support, params):
    seen = network_lib.ForwardPass(support.x, support.x, support.y, ())
    return seen, {i: jnp.zeros_like(layer.reading.weights)
                  for i, layer in enumerate(readings)}

  monkeypatch.setattr(array, 'read', read_fn)
  learner = learner_lib.make(
      chip_lib.Hardware(
          output, hidden, small.network(), program_fn, write_fn, hidden),
      small.update_rules.make(
          rule='delta', encoding='nearest', update_bits=4),
      small.TIMES, updates_fn=compute_updates)
  chip = learner.init(jax.random.key(0), small.theta())
  x = jnp.ones((2, 1))
  learner.update(jax.random.key(1), chip, types.Samples(x, x),
                 jnp.float32(100.0))
  assert used == {name: [hidden, hidden, output] for name in used}


@pytest.mark.parametrize(
    'module', [pcm, perf, float_config, omniglot, nmnist])
def test_a_run_from_before_a_field_is_tested_as_it_was(module, tmp_path):
  config = module.get_config()
  config.network.input_channels = saved.ADDED['network'][
      'input_channels']  # the configs have moved on
  config.crossbar.update(saved.ADDED['crossbar'])  # likewise
  own = saved.ADDED_TO.get(config.task.name, {})
  for section, added in own.items():
    config[section].update(added)
  values = workdir.as_json(config)
  fields = [(section, name)
            for all_added in (saved.ADDED, own)
            for section, added in all_added.items() for name in added]
  assert {name for section, name in fields if section == 'noise'} == set(
      noise_sources.FIELDS)
  del values['noise']
  for section, name in fields:
    values.get(section, {}).pop(name, None)
  (tmp_path / 'config.json').write_text(json.dumps(values))
  assert workdir.as_json(saved_config.get_config(
      str(tmp_path))) == workdir.as_json(config)
  assert workdir.check_of_run(config, tmp_path)
  config.noise.hidden_read = 0.0
  assert not workdir.check_of_run(config, tmp_path)
