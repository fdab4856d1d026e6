"""The exact write: the wanted change itself, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles_network as oracles
import pytest
import small_networks as small

from configs import float as float_config
from configs import pcm
from meta_analog import base
from meta_analog import chips
from meta_analog import conductances
from meta_analog import crossbar as xbar
from meta_analog import evaluation
from meta_analog import exact
from meta_analog import learner as learner_lib
from meta_analog import presentation
from meta_analog import rules
from meta_analog import settings
from meta_analog import writing
from meta_analog.devices import ideal

SHAPE, NUM_DEVICES, GAIN = (5, 3), 2, 0.5
T_READ_S = jnp.float32(100.0)
PAIR = small.ideal_pair()
WRITE = exact.write(ideal.shift)


def program():
  targets_uS = conductances.targets_from_parameters(
      jax.random.normal(jax.random.key(0), SHAPE), 10.0, 0.1, NUM_DEVICES)
  return xbar.program(
      jax.random.key(1), *PAIR, targets_uS, GAIN, jnp.float32(0.0))


def write(delta_w):
  """Returns the weights after a write, the crossbar and the counts."""
  request = writing.Request(
      delta_w, lambda crossbar, delta_w: 1 / 0, T_READ_S, T_READ_S)
  crossbar, counts = WRITE(jax.random.key(2), *PAIR, program(), request)
  reading = xbar.read(jax.random.key(3), PAIR[0], crossbar, T_READ_S, 0)
  return reading.weights, crossbar, counts


def changes():
  """Returns changes of which the largest exceed the range of all devices."""
  return jnp.linspace(-200.0, 210.0, 15).reshape(SHAPE).at[1].set(0.0)


def test_weights_change_by_what_was_wanted_beyond_any_range():
  before = write(jnp.zeros(SHAPE))[0]
  after, crossbar, _ = write(changes())
  np.testing.assert_allclose(after - before, changes(), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(crossbar.model.g_uS, crossbar.devices.g_uS)


def test_only_devices_that_change_are_counted_and_no_pulse():
  _, crossbar, counts = write(changes())
  assert counts == (0.0, 0.0, 0.0, NUM_DEVICES * 12)
  assert not np.any(crossbar.wear.num_pulses)


def test_the_gradient_is_that_of_the_change_itself_also_at_0():
  slope = jnp.arange(15.0).reshape(SHAPE)
  found = jax.grad(lambda d: jnp.sum(slope * write(d)[0]))(changes())
  np.testing.assert_allclose(found, slope, rtol=1e-6)


@pytest.fixture(scope='module')
def adapted():
  """Returns (learner, chip, adapted chip, support set, what was seen)."""
  net = small.network(fresh_share=0)
  hardware = chips.Hardware(*PAIR, net, write_fn=WRITE)
  rule = rules.make(rule='ridge', encoding='nearest', update_bits=2)
  learner = base.Learner(*map(jax.jit, learner_lib.make(
      hardware, rule, small.TIMES)))
  chip = learner.init(jax.random.key(0), small.theta())
  x = jnp.linspace(-1.0, 1.0, 6)[:, None]
  support = base.Samples(x, 30.0 * jnp.cos(3.0 * x))

  @jax.jit
  def see(chip):
    views, _ = chips.view_all(
        jax.random.key(1), hardware, chip.chip, T_READ_S)
    return presentation.present(jax.random.key(2), net, views, support.x)

  seen = see(chip)
  new, _ = learner.update(jax.random.key(3), chip, support, T_READ_S)
  return learner, chip, new, support, seen


def test_adaptation_is_the_float_regression_on_the_features(adapted):
  learner, _, new, support, seen = adapted
  features = np.asarray(seen.features, np.float64)
  change = oracles.ridge(features, support.y - seen.outputs, 0.01)
  found, _ = learner.predict(jax.random.key(4), new, support.x, T_READ_S)
  wanted = seen.outputs + features @ change
  assert np.max(np.abs(change)) > 20.0  # beyond a pair of 10 uS at gain 0.4
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_a_test_counts_the_devices_that_were_written_without_a_pulse(adapted):
  _, chip, new, _, seen = adapted
  every = jax.tree.map(lambda *x: jnp.stack(x), new, chip, new)
  # Both devices of one polarity, where the feature is not silent.
  number = 2.0 * np.count_nonzero(np.any(np.asarray(seen.features), axis=0))
  assert number > 0
  np.testing.assert_array_equal(
      evaluation._num_written(chip.chip, every.chip, evaluation._shifted),
      [number, 0.0, number])


@pytest.mark.parametrize('config, changed, word', [
    (pcm, {'adapt.write': 'exact'}, 'ideal'),
    (float_config, {'device': 'reram'}, 'ideal'),
    (float_config, {'crossbar.stuck_fraction': 0.1}, 'stuck_fraction'),
])
def test_what_cannot_be_written_exactly_is_refused(config, changed, word):
  config = config.get_config('tiny')
  settings.check(config)
  with config.unlocked():
    config.update_from_flattened_dict(changed)
  with pytest.raises(settings.InputError, match=word) as error:
    settings.check(config)
  assert 'exact' in str(error.value) and '\n' not in str(error.value)
