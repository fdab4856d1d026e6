"""The analog spiking network as a Learner: predictions and updates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.networks import network as network_lib
from meta_analog.programming import pulse_response
from tests.helpers import small_learner
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

T_READ_S = small_learner.T_READ_S
T_WRITE_S = small_learner.T_WRITE_S
DEVICES = small_learner.DEVICES
jitted = small_learner.jitted
support = small_learner.support
equal = small_learner.equal
MARGIN = 1e-4  # a potential this far from threshold spikes alike in float32


def weights_of(theta, network):
  """Returns the weights that theta sets as targets of ideal devices."""
  return [np.exp(float(layer.log_gain)) * network.span_uS * n
          * np.tanh(np.asarray(layer.u, np.float64))
          for layer, n in zip(theta.layers, network.num_devices, strict=True)]


def named(rule, encoding):
  """Returns settings that differ from the default, to compile that once."""
  if (rule, encoding) == ('delta', 'nearest'):
    return {}
  return {'rule': rule, 'encoding': encoding}


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_prediction_equals_the_loop_over_time_and_layers(seed):
  learner = jitted('ideal', keep_trace=True)
  theta, x = small.theta(seed), support(seed).x
  outputs, trace, counts, margin = oracles.network(
      weights_of(theta, small.network()), x, small.DECAY, 1.0,
      small.READOUT_DECAY, small.NUM_STEPS, small.START)
  assert margin > MARGIN  # choose another seed
  assert all(count.sum() > 0 for count in counts)
  found, info = learner.predict(
      jax.random.key(1), learner.init(jax.random.key(0), theta), x, T_READ_S)
  np.testing.assert_allclose(found, outputs, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(info['trace'], trace, rtol=1e-3, atol=1e-3)
  for rate_Hz, count in zip(info['rate_Hz'], counts, strict=True):
    np.testing.assert_allclose(rate_Hz, 1000.0 * count, rtol=1e-4)


def test_pulses_are_chosen_by_the_model_of_the_layer_they_go_to(monkeypatch):
  table, models = pulse_response.table, []

  def recorded(noise_free, *args):
    models.append(noise_free)
    return table(noise_free, *args)

  monkeypatch.setattr(pulse_response, 'table', recorded)
  device, output = small.pcm_pair()
  _, hidden = small.pcm_pair(small.pcm.PCMParams(nu_mean=0.1))
  learner = learner_lib.make(
      chip.Hardware(device, output, small.network(), hidden_noise_free=hidden),
      update_rules.make(rule='delta', encoding='nearest', update_bits=4,
                        layers='all'), small.TIMES)
  state = jax.eval_shape(learner.init, jax.random.key(0), small.theta())
  jax.eval_shape(learner.update, jax.random.key(1), state, support(), T_READ_S)
  assert [model is hidden for model in models] == [True, True, False]
  assert models[2] is output


def test_mean_of_the_trace_is_the_prediction():
  learner = jitted('ideal', keep_trace=True)
  state = learner.init(jax.random.key(0), small.theta())
  outputs, info = learner.predict(
      jax.random.key(1), state, support().x, T_READ_S)
  np.testing.assert_allclose(
      jnp.mean(info['trace'][small.START:], axis=0), outputs, rtol=1e-3,
      atol=1e-4)


@pytest.mark.parametrize('device, rule, encoding', [
    ('ideal', 'ridge', 'nearest'), ('pcm', 'delta', 'nearest'),
    ('pcm', 'ridge', 'descent')])
def test_update_without_error_changes_nothing_bit_for_bit(
    device, rule, encoding):
  # The target is what this very forward pass puts out, so no error is left.
  learner = jitted(device, **named(rule, encoding))
  state = learner.init(jax.random.key(0), small.theta())
  samples = support()
  outputs = outputs_of_update(jax.random.key(1), device, state, samples)
  new, info = learner.update(
      jax.random.key(1), state, samples._replace(y=outputs), T_READ_S)
  assert info['write']['pulses'] == 0 and info['write']['devices'] == 0
  # The array was written to a second later, and is as old as that.
  last = state.chip.crossbars[-1]
  aged = array.advance(*DEVICES[device](), last, T_WRITE_S)
  assert equal(new.chip.crossbars, state.chip.crossbars[:-1] + (aged,))
  assert clock.elapsed_s(new.chip.times[-1], 0.0) == T_WRITE_S
  assert equal(new.rule_params, state.rule_params)


@functools.partial(jax.jit, static_argnums=1)
def outputs_of_update(key, device, state, samples):
  """Returns what `update` sees of its support set: same keys, same reads."""
  hardware = chip.Hardware(*DEVICES[device](), small.network())
  key_read, key_run, _ = jax.random.split(key, 3)
  readings, *_ = chip.read_layers(key_read, hardware, state.chip, T_READ_S)
  return network_lib.forward(
      key_run, hardware.network, readings, samples.x).outputs


@pytest.mark.parametrize('device', sorted(DEVICES))
def test_only_the_output_layer_is_written(device):
  learner = jitted(device)
  state = learner.init(jax.random.key(0), small.theta())
  new, info = learner.update(jax.random.key(1), state, support(), T_READ_S)
  assert info['write']['pulses'] > 0
  assert equal(new.chip.crossbars[:-1], state.chip.crossbars[:-1])
  assert not equal(new.chip.crossbars[-1], state.chip.crossbars[-1])


def test_a_device_is_new_again_only_where_it_is_pulsed():
  learner = jitted('pcm')
  state = learner.init(jax.random.key(0), small.theta())
  new, info = learner.update(jax.random.key(1), state, support(), T_READ_S)
  devices = new.chip.crossbars[-1].devices
  pulsed = np.asarray(devices.num_pulses) > 0
  assert pulsed.any() and not pulsed.all()
  np.testing.assert_array_equal(
      devices.age_s, np.where(pulsed, 0.0, T_WRITE_S))
  np.testing.assert_array_equal(
      np.asarray(devices.g_uS) != state.chip.crossbars[-1].devices.g_uS, pulsed)
  assert info['write']['devices'] == pulsed.sum()
  assert info['write']['pulses'] == np.sum(devices.num_pulses)


@pytest.mark.parametrize('rule, encoding', [
    ('delta', 'nearest'), ('ridge', 'nearest'), ('ridge', 'descent')])
def test_order_of_the_support_set_does_not_matter_to_adaptation(
    rule, encoding):
  learner = jitted('ideal', **named(rule, encoding))
  state, samples = learner.init(jax.random.key(0), small.theta()), support()
  order = np.array([3, 1, 5, 0, 4, 2])
  shuffled = types.Samples(samples.x[order], samples.y[order])
  first, second = (learner.update(jax.random.key(1), state, s, T_READ_S)[0]
                   for s in (samples, shuffled))
  assert not equal(first.chip.crossbars[-1].devices.g_uS,
                   state.chip.crossbars[-1].devices.g_uS)
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second),
                  strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('rule, encoding', [
    ('delta', 'nearest'), ('ridge', 'nearest'), ('ridge', 'descent')])
def test_adaptation_lowers_the_support_error(rule, encoding):
  learner = jitted('ideal', **named(rule, encoding))
  state, samples = learner.init(jax.random.key(0), small.theta()), support()
  new, _ = learner.update(jax.random.key(1), state, samples, T_READ_S)
  before, after = (
      np.mean(np.square(samples.y - learner.predict(
          jax.random.key(2), c, samples.x, T_READ_S)[0]))
      for c in (state, new))
  assert after < before


def test_prediction_does_not_depend_on_the_controllers_estimate():
  learner = jitted('pcm')
  state = learner.init(jax.random.key(0), small.theta())
  state, _ = learner.update(jax.random.key(1), state, support(), T_READ_S)
  disturbed = state._replace(chip=state.chip._replace(crossbars=tuple(
      c._replace(estimate=jax.tree.map(
          lambda leaf: 2.0 * leaf + 1.0, c.estimate))
      for c in state.chip.crossbars)))
  first, second = (
      learner.predict(jax.random.key(2), c, support().x, T_WRITE_S)[0]
      for c in (state, disturbed))
  np.testing.assert_array_equal(first, second)


def test_every_prediction_reads_anew():
  learner = jitted('pcm')
  state = learner.init(jax.random.key(0), small.theta())
  first, second, again = (
      learner.predict(jax.random.key(seed), state, support().x, T_READ_S)[0]
      for seed in (2, 3, 2))
  assert np.all(first != second)
  np.testing.assert_array_equal(first, again)


# Gradients.


@pytest.mark.parametrize('device', sorted(DEVICES))
def test_adapting_all_layers_writes_all_crossbars(device):
  learner = jitted(device, layers='all')
  theta = small.theta(rate=20.0, threshold=0.1)
  state = learner.init(jax.random.key(0), theta)
  new, info = learner.update(jax.random.key(1), state, support(), T_READ_S)
  counts = [np.sum(c.devices.num_pulses) for c in new.chip.crossbars]
  assert np.all(np.array(counts) > 0)
  assert info['write']['pulses'] == sum(counts)
  for old_layer, new_layer in zip(
      state.chip.crossbars, new.chip.crossbars, strict=True):
    assert not equal(old_layer.devices, new_layer.devices)


def test_output_delta_of_all_layers_is_that_of_the_delta_rule():
  # With hidden rates of nearly 0 both rules write the same.
  theta = small.theta()
  rule = theta.rule._replace(
      log_rate=jnp.array([-50.0, -50.0, np.log(0.5)], jnp.float32))
  one, every = (
      jitted('ideal', layers=layers).update(
          jax.random.key(1),
          jitted('ideal').init(jax.random.key(0), theta._replace(rule=rule)),
          support(), T_READ_S)[0]
      for layers in ('output', 'all'))
  # The hidden arrays aged until they were written to.
  parts = lambda state: (
      state.chip.crossbars[-1], [c.devices.g_uS for c in state.chip.crossbars])
  for a, b in zip(jax.tree.leaves(parts(one)), jax.tree.leaves(parts(every)),
                  strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
