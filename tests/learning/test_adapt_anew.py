"""Re-adaptation before a test: from the first day's chip, at its own time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import mapping
from meta_analog.evaluation import meta_testing
from meta_analog.learning import learner
from meta_analog.learning import maml
from meta_analog.learning import plasticity
from meta_analog.programming import pulse_response
from tests.helpers import small_networks as small

DATES_S = (151.0, 251.0, 1e5, 3e7)
NUM_LEVELS, NUM_DEVICES, NUM_TASKS = 15, 1, 6


def linear(reference=151.0):
  """Returns a learner of one linear layer on PCM that drifts without noise."""
  device, _ = small.pcm_pair(
      # The first pulse after RESET is no larger than the next ones.
      small.pcm.PCMParams(noise_scale=0.0, a1_uS=0.0), NUM_LEVELS)

  def weights(chip, time):
    crossbar, since = chip
    elapsed_s = clock.elapsed_s(time, since)
    return array.read(jax.random.key(0), device, crossbar, elapsed_s, 0).weights

  def init(key, theta):
    targets_uS = mapping.targets_from_parameters(
        theta, 10.0, 0.1, NUM_DEVICES)
    crossbar = array.program(
        key, device, device, targets_uS, jnp.float32(1.0))
    return crossbar, clock.exact(jnp.float32(0.0))

  def predict(key, chip, inputs, time):
    return _with_one(inputs) @ weights(chip, time), {}

  def update(key, chip, support, time):
    features, write_time = _with_one(support.x), clock.later(time, 1.0)
    error = support.y - features @ weights(chip, time)
    crossbar = array.advance(
        device, device, chip[0], clock.elapsed_s(write_time, chip[1]))
    response = pulse_response.table(
        device, crossbar, NUM_LEVELS, clock.elapsed_s(reference, write_time))
    num_pulses = pulse_response.pulses_from_table(
        plasticity.ridge(features, error, 1e-6), response, 0.5)
    crossbar = array.pulse(key, device, device, crossbar, num_pulses)
    return (crossbar, write_time), {
        'pulses': jnp.sum(jnp.abs(num_pulses)),
        'time_s': clock.elapsed_s(time, clock.START)}

  return types.Learner(init, predict, update)


def _with_one(x):
  return jnp.concatenate([x, jnp.ones_like(x)], axis=1)


def episodes():
  """Returns lines y = a x + b that take several pulses each."""
  x = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 5)[:, None], (NUM_TASKS, 5, 1))
  slope = jnp.linspace(4.0, 6.0, NUM_TASKS)[:, None, None]
  samples = types.Samples(x, slope * x - 5.0)
  return types.Episode(samples, samples, None)


@pytest.fixture(scope='module')
def tested():
  """Returns {when chips are re-adapted: what evaluation gives}."""
  def evaluate(readapt_fn):
    return jax.jit(lambda: maml.evaluate(
        linear(), jax.random.key(1), jnp.zeros((2, 1)), episodes(),
        small.SCHEDULE, clock.exact(151.0), clock.exact(np.array(DATES_S)),
        readapt_fn=readapt_fn))()

  return {'never': evaluate(None), 'readapt': evaluate(linear)}


def errors(result):
  """Returns the mean squared error at each date, [D]."""
  return np.mean(np.square(
      result['after'] - episodes().query.y[:, None]), axis=(0, 2, 3))


def test_re_adaptation_restores_what_drift_took(tested):
  # Not all of it: the first pulse of a drifted device brings back whatever it
  # lost, often more than is required.
  never, readapt = errors(tested['never']), errors(tested['readapt'])
  assert never[3] > never[2] > 10.0 * never[0]
  assert np.all(readapt[2:] < 0.3 * never[2:])
  assert readapt[1] < 2.0 * never[0]


def test_up_to_the_first_query_the_first_adaptation_stands(tested):
  info = tested['readapt']['readapt_info']
  np.testing.assert_array_equal(
      tested['readapt']['after'][:, 0], tested['never']['after'][:, 0])
  assert not np.any(info['pulses'][:, 0])
  assert np.all(np.sum(info['pulses'][:, 3], axis=-1) > 0)


def test_the_support_set_is_shown_as_long_before_each_date(tested):
  time_s = tested['readapt']['readapt_info']['time_s']
  np.testing.assert_allclose(time_s[:, 1:, 0], np.broadcast_to(
      np.array(DATES_S[1:]) - 51.0, (NUM_TASKS, 3)))


def test_a_config_asks_for_it_and_every_date_has_its_pulses():
  config, seen = pcm.get_config('tiny'), []

  def learner_fn(hardware, rule, times, **kwargs):
    seen.append(times.reference)
    return learner.make(hardware, rule, times, **kwargs)

  with config.unlocked():
    config.network.hidden_sizes = (4,)
    config.evaluation.adapt_anew = 'before_each_test'
  setup = build.build(config, learner_fn)
  setup.make_learner(1.0)
  setup.make_learner(1.0, testing=True, reference=clock.exact(1e9))
  assert seen == [config.training.t_query_s, clock.exact(1e9)]
  params = jax.eval_shape(setup.transforms.theta.init, jax.random.key(0))
  results, _ = jax.eval_shape(
      meta_testing.make_test(config, setup), params, jax.random.key(1))
  chips, dates = config.evaluation.num_chips, len(setup.after_s)
  assert results.readapt_pulses.shape == (chips, 20 // chips, dates)
