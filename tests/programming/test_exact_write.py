"""The exact write: the requested change itself, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import float as float_config
from configs import pcm
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.devices import ideal
from meta_analog.evaluation import meta_testing
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import update_rules
from meta_analog.networks import chip as chip_lib
from meta_analog.networks import network
from meta_analog.programming import protocols
from meta_analog.programming import writing
from tests.helpers import small_networks as small
from tests.oracles import network as oracles

SHAPE, NUM_DEVICES, GAIN = (5, 3), 2, 0.5
T_READ_S = jnp.float32(100.0)
PAIR = small.ideal_pair()
WRITE = writing.exact(ideal.shift)


def program():
  targets_uS = mapping.targets_from_parameters(
      jax.random.normal(jax.random.key(0), SHAPE), 10.0, 0.1, NUM_DEVICES)
  return array.program(
      jax.random.key(1), *PAIR, targets_uS, GAIN)


def write(delta_w):
  """Returns the weights after a write, the crossbar and the counts."""
  request = protocols.Request(
      delta_w, lambda crossbar, delta_w: 1 / 0, T_READ_S)
  crossbar, counts, _ = WRITE(jax.random.key(2), *PAIR, program(), request)
  reading = array.read(jax.random.key(3), PAIR[0], crossbar, T_READ_S, 0)
  return reading.weights, crossbar, counts


def changes():
  """Returns changes of which the largest exceed the range of all devices."""
  return jnp.linspace(-200.0, 210.0, 15).reshape(SHAPE).at[1].set(0.0)


def test_weights_change_by_what_is_requested_beyond_any_range():
  before = write(jnp.zeros(SHAPE))[0]
  after, crossbar, _ = write(changes())
  np.testing.assert_allclose(after - before, changes(), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(crossbar.estimate.g_uS, crossbar.devices.g_uS)


def test_only_devices_that_change_are_counted_and_no_pulse():
  _, crossbar, counts = write(changes())
  assert counts == (0.0, 0.0, 0.0, NUM_DEVICES * 12)
  assert not np.any(crossbar.usage.num_pulses)


def test_the_gradient_is_that_of_the_change_itself_also_at_0():
  slope = jnp.arange(15.0).reshape(SHAPE)
  found = jax.grad(lambda d: jnp.sum(slope * write(d)[0]))(changes())
  np.testing.assert_allclose(found, slope, rtol=1e-6)


@pytest.fixture(scope='module')
def adapted():
  """Returns (learner, chip, adapted chip, support set, what was seen)."""
  net = small.network(fresh_share=0)
  hardware = chip_lib.Hardware(*PAIR, net, write_fn=WRITE)
  rule = update_rules.make(rule='ridge', encoding='nearest', update_bits=2)
  learner = types.Learner(*map(jax.jit, learner_lib.make(
      hardware, rule, small.TIMES)))
  chip = learner.init(jax.random.key(0), small.theta())
  x = jnp.linspace(-1.0, 1.0, 6)[:, None]
  support = types.Samples(x, 30.0 * jnp.cos(3.0 * x))

  @jax.jit
  def see(chip):
    readings, *_ = chip_lib.read_layers(
        jax.random.key(1), hardware, chip.chip, T_READ_S)
    return network.forward(jax.random.key(2), net, readings, support.x)

  seen = see(chip)
  new, _ = learner.update(jax.random.key(3), chip, support, T_READ_S)
  return learner, chip, new, support, seen


def test_adaptation_is_the_float_regression_on_the_features(adapted):
  learner, _, new, support, seen = adapted
  features = np.asarray(seen.features, np.float64)
  change = oracles.ridge(features, support.y - seen.outputs, 0.01)
  found, _ = learner.predict(jax.random.key(4), new, support.x, T_READ_S)
  expected = seen.outputs + features @ change
  assert np.max(np.abs(change)) > 20.0  # beyond a pair of 10 uS at gain 0.4
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_test_counts_the_devices_that_were_written_without_a_pulse(adapted):
  _, chip, new, _, seen = adapted
  every = jax.tree.map(lambda *x: jnp.stack(x), new, chip, new)
  # Both devices of one polarity, where the feature is not silent.
  number = 2.0 * np.count_nonzero(np.any(np.asarray(seen.features), axis=0))
  assert number > 0
  np.testing.assert_array_equal(
      meta_testing._num_written(chip.chip, every.chip, meta_testing._shifted),
      [number, 0.0, number])


@pytest.mark.parametrize('config, changed, word', [
    (pcm, {'adapt.write': 'exact'}, 'ideal'),
    (float_config, {'device': 'reram'}, 'ideal'),
    (float_config, {'crossbar.stuck_fraction': 0.1}, 'stuck_fraction'),
])
def test_what_cannot_be_written_exactly_is_refused(config, changed, word):
  config = config.get_config('tiny')
  validation.check(config)
  with config.unlocked():
    config.update_from_flattened_dict(changed)
  with pytest.raises(errors.InputError, match=word) as error:
    validation.check(config)
  assert 'exact' in str(error.value) and '\n' not in str(error.value)
