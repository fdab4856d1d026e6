"""The learner against the reference learner: loss, meta-gradient, trace."""

import collections
import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import types
from meta_analog.crossbar import periphery
from meta_analog.devices import registry as device_registry
from meta_analog.learning import learner as learner_lib
from meta_analog.learning import losses
from meta_analog.learning import maml
from meta_analog.learning import reference_learner
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.networks import lif
from meta_analog.networks import lif_fused
from tests.helpers import small_networks as small

TOLERANCE = 1e-4  # of the largest element of each array
# Of a gradient: a scalar's is a sum, and may cancel.
LEAST = 1e-3
# Relative moves of the meta-parameters, about 20 roundings of float32. Where
# the gradient of the reference moves by more than STEADY, a spike, level or
# pulse is at its edge, and rounding alone may separate the two learners.
MOVE, NUM_MOVES, STEADY = 2e-6, 3, 5e-4
NUM_TASKS, NUM_SAMPLES, MAX_PULSES = 2, 3, 8
EXACT = periphery.Periphery()
EIGHT_BITS = periphery.Periphery(dac_bits=8, adc_bits=8, adc_range=4.0)
REAL = periphery.Periphery(
    dac_bits=8, dac_range=0.9, adc_bits=8, adc_range=1.0, tile_rows=5,
    gain_std=0.05, offset_std=0.02, ir_drop=1.0)  # some outputs saturate
ARCTAN = functools.partial(
    lif_fused.activity, surrogate=functools.partial(lif.arctan, slope=2.0))
HARD = functools.partial(lif.activity, reset='hard')
UNROLLED = functools.partial(lif_fused.activity, unroll=8)  # as on a GPU
DEEP = {'sizes': small.SIZES}  # spikes that drive spikes
# device, rule, encoding, then what differs from SETTINGS.
CASES = [
    ('pcm', 'delta', 'nearest', DEEP),
    ('pcm', 'delta', 'nearest', DEEP | {'periphery': REAL}),
    ('pcm', 'delta', 'nearest', DEEP | {
        'periphery': REAL, 'activity_fn': UNROLLED}),
    ('pcm', 'ridge', 'descent', {'periphery': REAL}),
    ('pcm', 'delta', 'nearest', DEEP | {
        'layers': 'all', 'first_order': True, 'periphery': EIGHT_BITS}),
    ('pcm', 'delta', 'nearest', {'layers': 'all', 'activity_fn': HARD}),
    ('ideal', 'delta', 'threshold', {
        'num_steps': 3, 'fresh_share': 0.0, 'keep_trace': True}),
    ('ideal', 'ridge', 'nearest', {
        'activity_fn': ARCTAN, 'num_events': 2}),
    ('pcm_like', 'delta', 'descent', {'first_order': True}),
    ('pcm_like', 'ridge', 'nearest', {'periphery': EIGHT_BITS}),
    ('hermes', 'delta', 'nearest', {
        'periphery': EIGHT_BITS, 'num_steps': 3}),
    ('hermes', 'ridge', 'nearest', {'fresh_share': 0.0}),
    ('reram', 'delta', 'nearest', {
        'num_steps': 3, 'first_order': True, 'periphery': EIGHT_BITS}),
    ('reram', 'ridge', 'nearest', {
        'compensation': 'column', 'num_channels': 3, 'sizes': (3, 8, 1)}),
]
QUICK = (3, 6)  # what runs where slow tests are left out
SETTINGS = {'num_events': 1, 'fresh_share': 0.65, 'periphery': EXACT,
            'compensation': 'none', 'activity_fn': lif_fused.activity,
            'sizes': (1, 8, 1), 'keep_trace': False, 'num_channels': 1}


def name(case):
  """Returns a case in words."""
  device, rule, encoding, changes = case
  return '-'.join([device, rule, encoding, *changes])


def functions(device, rule, encoding, changes):
  """Returns the loss with gradient of the learner, and of the reference.

  Each is (seed, theta) -> (task losses [B], gradient of their mean, infos).
  """
  own = {k: changes.get(k, v) for k, v in SETTINGS.items()}
  more = {k: v for k, v in changes.items() if k not in SETTINGS}
  params = device_registry.FAMILIES[device].params()
  if device == 'ideal':
    pair = small.ideal_pair()
  else:
    pair = (device_registry.make(device, params, MAX_PULSES),
            device_registry.make(device, params._replace(noise_scale=0.0),
                                 MAX_PULSES))
  num_events, sizes, keep_trace = map(
      own.pop, ('num_events', 'sizes', 'keep_trace'))
  network = small.network(
      num_devices=(1,) * (len(sizes) - 2) + (2,), **own)._replace(spiking=True)
  hardware = chip.Hardware(*pair, network)
  rule = update_rules.make(rule=rule,
                           encoding=encoding,
                           update_bits=2 if encoding == 'threshold' else 4,
                           **more)
  learners = [make(hardware, rule, small.TIMES, keep_trace=keep_trace)
              for make in (learner_lib.make, reference_learner.make)]
  return [functools.partial(value_and_gradient, learner, num_events)
          for learner in learners]


def value_and_gradient(learner, num_events, seed, theta):
  key_episodes, key = jax.random.split(jax.random.key(seed))
  key_x, key_y = jax.random.split(key_episodes)
  shape = (2, NUM_TASKS, NUM_SAMPLES, 1)
  x = jax.random.uniform(key_x, shape, minval=-1.0, maxval=1.0)
  y = 2.0 * jax.random.normal(key_y, shape)
  episodes = types.Episode(
      *(types.Samples(x[i], y[i]) for i in range(2)), latent=None)

  def mean_loss(theta):
    task_losses, info = maml.meta_loss(
        learner, key, theta, episodes, small.SCHEDULE, losses.squared_error,
        num_events=num_events)
    return jnp.mean(task_losses), (task_losses, info)

  gradient, (task_losses, info) = jax.grad(mean_loss, has_aux=True)(theta)
  return task_losses, gradient, info


def parameters(case, seed):
  """Returns meta-parameters; ridge well posed for three samples."""
  theta = small.theta(seed, sizes=case[3].get('sizes', SETTINGS['sizes']))
  theta = theta._replace(rule=theta.rule._replace(log_penalty=jnp.log(0.1)))
  # No weak type, which would be compiled once more.
  return jax.tree.map(lambda x: np.asarray(x, np.float32), theta)


def distance(found, expected, least=0.0):
  """Returns the largest difference, each leaf's by its largest element.

  Args:
    found: pytree.
    expected: pytree.
    least: share of the largest element of all that a leaf is measured by where
      its own is less.
  """
  pairs = list(zip(map(np.asarray, jax.tree.leaves(found)),
                   map(np.asarray, jax.tree.leaves(expected)), strict=True))
  floor = least * max(np.max(np.abs(b)) for _, b in pairs) + 1e-12
  return max(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), floor)
             for a, b in pairs)


def moved(theta, seed):
  """Returns theta, moved by MOVE in a random direction."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: x * np.float32(
      1.0 + MOVE * rng.choice([-1.0, 1.0], np.shape(x))), theta)


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=() if i in QUICK else pytest.mark.slow)
    for i, case in enumerate(CASES)], ids=name)
def test_loss_and_meta_gradient_equal_the_reference(case):
  fast, plain = map(jax.jit, functions(*case))
  count = collections.Counter()

  @hypothesis.settings(max_examples=5)
  @hypothesis.given(seed=st.integers(0, 2**31 - 1))
  def check(seed):
    theta = parameters(case, seed)
    expected = plain(seed, theta)
    steady = all(
        distance(plain(seed, moved(theta, i))[1], expected[1], LEAST) < STEADY
        for i in range(NUM_MOVES))
    count[steady] += 1
    hypothesis.assume(steady)
    of_tasks, gradient, infos = fast(seed, theta)
    assert distance(of_tasks, expected[0]) < TOLERANCE
    assert distance(gradient, expected[1], LEAST) < TOLERANCE
    assert distance(infos, expected[2]) < TOLERANCE
    assert np.sum(expected[2]['support']['write']['pulses']) > 0

  check()
  assert count[True] > count[False], count
