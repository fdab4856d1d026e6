"""Tests of the analog spiking network as a Learner."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import clock
from meta_analog.core import currents as currents_lib
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import periphery
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.networks import lif
from meta_analog.networks import network as network_lib
from meta_analog.programming import protocols
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

T_READ_S, T_WRITE_S = jnp.float32(100.0), jnp.float32(101.0)
MARGIN = 1e-4  # a potential this far from threshold spikes alike in float32
DEVICES = {'ideal': small.ideal_pair, 'pcm': small.pcm_pair}


@functools.cache
def jitted(device, keep_trace=False, fresh_share=0.5, **rule):
  """Returns the small learner with compiled functions."""
  learner = small.make(
      DEVICES[device](), small.network(fresh_share=fresh_share),
      keep_trace=keep_trace, **rule)
  return types.Learner(*map(jax.jit, learner))


def support(seed=0, num_samples=6):
  key_x, key_y = jax.random.split(jax.random.key(seed))
  return types.Samples(
      x=jax.random.uniform(key_x, (num_samples, 1), minval=-1.0, maxval=1.0),
      y=2.0 * jax.random.normal(key_y, (num_samples, 1)))


def weights_of(theta, network):
  """Returns the weights that theta asks of ideal devices."""
  return [np.exp(float(layer.log_gain)) * network.span_uS * n
          * np.tanh(np.asarray(layer.u, np.float64))
          for layer, n in zip(theta.layers, network.num_devices, strict=True)]


def named(rule, encoding):
  """Returns settings that differ from the default, to compile that once."""
  if (rule, encoding) == ('delta', 'nearest'):
    return {}
  return {'rule': rule, 'encoding': encoding}


def equal(a, b):
  """Returns whether two pytrees agree bit for bit."""
  return all(np.array_equal(x, y) for x, y in zip(
      jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


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
  # The target is what this very presentation puts out, so no error is left.
  learner = jitted(device, **named(rule, encoding))
  state = learner.init(jax.random.key(0), small.theta())
  samples = support()
  seen = outputs_of_update(jax.random.key(1), device, state, samples)
  new, info = learner.update(
      jax.random.key(1), state, samples._replace(y=seen), T_READ_S)
  assert info['write']['pulses'] == 0 and info['write']['devices'] == 0
  # The array was looked at a second later, and is as old as that.
  last = state.chip.crossbars[-1]
  aged = array.advance(*DEVICES[device](), last, T_WRITE_S)
  assert equal(new.chip.crossbars, state.chip.crossbars[:-1] + (aged,))
  assert clock.elapsed_s(new.chip.times[-1], 0.0) == T_WRITE_S
  assert equal(new.rule_params, state.rule_params)


def outputs_of_update(key, device, state, samples):
  """Returns what `update` sees of its support set: same keys, same reads."""
  hardware = chip.Hardware(*DEVICES[device](), small.network())
  key_read, key_run, _ = jax.random.split(key, 3)
  readings, _ = chip.read_layers(key_read, hardware, state.chip, T_READ_S)
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


def test_compensation_undoes_a_common_drift_exactly():
  # nu is the same for all devices, and the factor is its inverse.
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  factor = lambda age_s: (age_s / params.t0_s) ** params.nu_mean
  learner = small.make(
      small.pcm_pair(params),
      small.network(compensation='clock', clock=factor))
  state = learner.init(jax.random.key(0), small.theta())
  early, late = (
      learner.predict(jax.random.key(1), state, support().x, time_s)[0]
      for time_s in (jnp.float32(params.t0_s), jnp.float32(1e6)))
  np.testing.assert_allclose(late, early, rtol=1e-3, atol=1e-3)


# Gradients.


def test_gradient_of_the_output_layer_equals_finite_differences():
  # No spike lies between the output layer's parameters and the output.
  learner = jitted('ideal')
  theta, x = small.theta(), support().x

  def total(u):
    layers = theta.layers[:-1] + (theta.layers[-1]._replace(u=u),)
    state = learner.init(jax.random.key(0), theta._replace(layers=layers))
    outputs = learner.predict(jax.random.key(1), state, x, T_READ_S)[0]
    return jnp.sum(jnp.square(outputs))

  u = theta.layers[-1].u
  found, total = np.asarray(jax.jit(jax.grad(total))(u)), jax.jit(total)
  step = 1e-2
  for i in range(u.shape[0]):
    change = jnp.zeros_like(u).at[i].set(step)
    expected = (total(u + change) - total(u - change)) / (2.0 * step)
    np.testing.assert_allclose(
        found[i, 0], expected, rtol=2e-2, atol=1e-2 * np.abs(found).max())


def query_loss(theta, learner, samples, chip_key=0):
  state = learner.init(jax.random.key(chip_key), theta)
  new, _ = learner.update(jax.random.key(1), state, samples, T_READ_S)
  outputs, _ = learner.predict(
      jax.random.key(2), new, samples.x, jnp.float32(151.0))
  return jnp.mean(jnp.square(outputs - samples.y))


def value_and_gradient(learner):
  """Returns the query loss and its gradient with respect to theta."""
  loss = lambda theta: query_loss(theta, learner, support())
  value, gradient = jax.jit(jax.value_and_grad(loss))(small.theta())
  return float(value), gradient


@pytest.fixture(scope='module')
def all_layers():
  """Returns {first_order: (loss, gradient)} with every layer written."""
  return {first_order: value_and_gradient(jitted(
      'ideal', layers='all', first_order=first_order))
          for first_order in (False, True)}


def test_first_order_changes_the_gradient_of_all_layers_not_the_value(
    all_layers):
  assert all_layers[False][0] == all_layers[True][0]
  assert not equal(all_layers[False][1], all_layers[True][1])


def test_gradients_of_all_layers_are_finite_and_reach_every_layer(all_layers):
  for _, gradient in all_layers.values():
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))
    assert all(np.any(layer.u != 0) for layer in gradient.layers)


def test_learned_rates_get_a_gradient_at_either_order(all_layers):
  for first_order in (False, True):
    assert np.all(all_layers[first_order][1].rule.log_rate != 0)


def test_first_order_changes_the_gradient_of_one_layer_not_the_value():
  second, first = (value_and_gradient(jitted('ideal', first_order=flag))
                   for flag in (False, True))
  assert second[0] == first[0]
  assert not equal(second[1], first[1])


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
  # The hidden arrays were looked at to be written: they are older.
  parts = lambda state: (
      state.chip.crossbars[-1], [c.devices.g_uS for c in state.chip.crossbars])
  for a, b in zip(jax.tree.leaves(parts(one)), jax.tree.leaves(parts(every)),
                  strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gradient_at_silent_hidden_layers_is_finite():
  learner = jitted('pcm', fresh_share=1.0)
  theta = small.theta()
  theta = theta._replace(layers=tuple(
      layer._replace(u=-0.5 * jnp.ones_like(layer.u))
      for layer in theta.layers))
  gradient = jax.jit(jax.grad(query_loss), static_argnums=1)(
      theta, learner, support())
  assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


# Keys: the actual draws of one presentation.


@pytest.fixture
def wide_presentation(monkeypatch):
  """Returns a function to (hidden currents, readings, exact weights).

  The layers have 32 neurons and every spike is replaced by 1, so that all
  layers see the same inputs at every step and only the noise differs.
  """
  def present(fresh_share):
    seen, readings, read = [], [], array.read

    def activity(source, neuron, weights):
      seen.append(np.asarray(currents_lib.currents(source)))
      return jax.tree.map(
          jnp.ones_like, lif.activity(source, neuron, weights))

    def recording_read(*args):
      readings.append(read(*args))
      return readings[-1]

    network = small.network(
        (1, 1, 1), fresh_share=fresh_share, activity_fn=activity)
    device = small.pcm_pair(small.pcm.PCMParams(m3=0.0))[0]
    learner = small.make((device, device), network)
    monkeypatch.setattr(array, 'read', recording_read)
    state = learner.init(
        jax.random.key(0), small.theta(sizes=(32, 32, 32, 32)))
    learner.predict(jax.random.key(1), state, jnp.ones((4, 32)), T_READ_S)
    exact = [read(jax.random.key(0), device, crossbar, T_READ_S, 1.0).weights
             for crossbar in state.chip.crossbars]
    return seen, readings[-3:], exact

  return present


def assert_uncorrelated(rows):
  """Fails if two of the rows [R, n] correlate by more than 6 SE."""
  rows = np.asarray(rows)
  r = np.corrcoef(rows) - np.eye(len(rows))
  assert np.all(rows.std(axis=1) > 0)
  assert np.max(np.abs(r)) < 6.0 / np.sqrt(rows.shape[1])


def test_frozen_reads_of_layers_are_independent(wide_presentation):
  _, readings, exact = wide_presentation(0.0)
  noise = [np.ravel(r.weights - w) for r, w in zip(
      readings, exact, strict=True)]
  # The hidden arrays and the output array: 32 x 33 weights each.
  assert_uncorrelated([row[:32 * 32] for row in noise])


def test_fresh_noise_of_layers_steps_and_samples_is_independent(
    wide_presentation):
  currents, _, _ = wide_presentation(1.0)
  first, second = (c - c.mean(axis=0, keepdims=True) for c in currents)
  assert_uncorrelated([first.ravel(), second.ravel()])
  for layer in (first, second):
    assert_uncorrelated([layer[:, n].ravel() for n in range(4)])
    assert_uncorrelated([layer[t].ravel() for t in range(small.NUM_STEPS)])


def test_programming_errors_of_layers_are_independent():
  learner = small.make(small.pcm_pair(), small.network((1, 1, 1)))
  theta = small.theta(sizes=(32, 32, 32, 32))
  theta = theta._replace(layers=tuple(
      layer._replace(u=jnp.full_like(layer.u, 0.5)) for layer in theta.layers))
  errors = []
  for seed in (0, 1):  # two chips
    state = learner.init(jax.random.key(seed), theta)
    errors += [np.ravel(c.devices.g_uS[0] - c.estimate.g_uS[0])
               for c in state.chip.crossbars]
  assert_uncorrelated(errors)


# Drift compensation measured on the array.

WIDE = periphery.Periphery(adc_range=100.0)


@pytest.mark.parametrize('name', ['global', 'column'])
def test_a_measured_compensation_undoes_a_common_drift(name):
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  learner = small.make(small.pcm_pair(params), small.network(
      periphery=WIDE, compensation=name))
  state = jax.jit(learner.init)(jax.random.key(0), small.theta())
  early, late = (
      jax.jit(learner.predict)(
          jax.random.key(1), state, support().x, jnp.float32(time_s))[0]
      for time_s in (small.TIMES.calibrate_s, 1e6))
  assert np.all(np.isfinite(early)) and np.any(early != 0)
  np.testing.assert_allclose(late, early, rtol=1e-3, atol=1e-3)


def of_clock(compensation, write_fn=None, **times):
  """Returns the state after an update, by a mean law that goes with age."""
  params = small.pcm.PCMParams(nu_std=0.0, noise_scale=0.0)
  network = small.network(
      fresh_share=0, periphery=WIDE, compensation=compensation,
      clock=lambda age_s: age_s ** 0.04)
  hardware = chip.Hardware(*small.pcm_pair(params), network)
  if write_fn is not None:
    hardware = hardware._replace(write_fn=write_fn)
  learner = learner_lib.make(
      hardware, update_rules.make(
          rule='delta', encoding='nearest', update_bits=4),
      small.TIMES._replace(**times))
  state = learner.init(jax.random.key(0), small.theta())
  return learner.update(jax.random.key(1), state, support(), T_READ_S)[0]


def test_changes_are_scaled_by_the_factor_of_the_date_of_predictions():
  changes = []

  def write_fn(key, device, noise_free, crossbar, request):
    changes.append(np.asarray(request.delta_w))
    return protocols.Written(
        crossbar, protocols.Counts(*(jnp.float32(0.0),) * 4), jnp.float32(0.0))

  for reference in (151.0, 1e6):
    of_clock('clock', write_fn, reference=reference)
  assert np.any(changes[0] != 0)
  np.testing.assert_allclose(
      changes[1], changes[0] * (1e6 / 151.0) ** -0.04, rtol=1e-4)


def test_the_calibration_after_a_write_waits_for_its_end():
  levels = [of_clock('global', write_duration_s=duration_s
                     ).chip.baselines[-1].level for duration_s in (0.0, 1e5)]
  np.testing.assert_allclose(
      levels[1] / levels[0], ((101.0 + 1e5 + 5.0) / 106.0) ** 0.04, rtol=1e-4)


def test_a_write_is_not_taken_for_drift():
  # Without drift or noise no factor may arise, whatever is written.
  params = small.pcm.PCMParams(nu_mean=0.0, nu_std=0.0, noise_scale=0.0)
  outputs = []
  for name in ('none', 'column'):
    learner = small.make(small.pcm_pair(params), small.network(
        periphery=WIDE, compensation=name))
    state = jax.jit(learner.init)(jax.random.key(0), small.theta())
    state, info = jax.jit(learner.update)(
        jax.random.key(1), state, support(), T_READ_S)
    assert info['write']['pulses'] > 0
    outputs.append(jax.jit(learner.predict)(
        jax.random.key(2), state, support().x, jnp.float32(251.0))[0])
  np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
