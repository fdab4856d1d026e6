"""Contract checks for devices and tasks of one's own.

    from meta_analog import testing

    testing.check_device(lambda noise_scale: my_device(noise_scale))
    testing.check_task(my_task)

Each check raises an AssertionError, in one line, at the first law of `Device`
or `Task` that is broken. What passes works in crossbars and in training.
"""

from collections.abc import Callable
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import types
from meta_analog.devices import ideal

SHAPES = ((), (3,), (2, 3))  # of arrays of devices
NUM_READS = 16384  # 6 standard errors of the deviation are 3.3 % of it
_key = jax.random.key


def check_device(
    make: Callable[[float], types.Device], *, target_uS: float = 5.0,
    num_pulses: float = 3.0
) -> None:
  """Checks that a device keeps the contract of `Device`.

  Args:
    make: `noise_scale -> Device`: with all its noise at 1, without any at 0.
    target_uS: a conductance well inside the device's range.
    num_pulses: of the longest train that is tried, a whole number.

  Raises:
    AssertionError: in one line, at the first law that is broken.
  """
  device, noise_free = (_compiled(_call('make', make, noise_scale))
                        for noise_scale in (1.0, 0.0))
  for shape in SHAPES:
    _check_layout(device, jnp.full(shape, target_uS), num_pulses)
  target = jnp.full(3, target_uS)
  count = jnp.array([0.0, 1.0, num_pulses])
  _check_noise_free(noise_free, target, count)
  _check_no_operation(device, target)
  _check_ages(noise_free, target, count)
  _check_moments(device, target_uS)
  _check_gradient(device, target, count)
  _check_transforms(device, target)


def check_task(make: Callable[[], types.Task]) -> None:
  """Checks that a task family keeps the contract of `Task`.

  Args:
    make: returns the task.

  Raises:
    AssertionError: in one line, at the first law that is broken.
  """
  task = _call('make', make)
  _require(isinstance(task, types.Task), 'make: returns no Task')
  for name, value in zip(task._fields[:2], task):
    _require(isinstance(value, int) and value >= 1,
             f'{name} = {value!r}: must be a whole number, at least 1')
  _require(task.metric in ('mse', 'accuracy'),
           f"metric = {task.metric!r}: must be 'mse' or 'accuracy'")
  pixels = np.prod(task.image_shape or (1, 1, 1))
  _require(task.num_inputs % pixels == 0, f'image_shape = {task.image_shape}: '
           f'num_inputs = {task.num_inputs} is no multiple of its pixels')
  splits = ('train', 'validation', 'test')
  episodes = [_check_split(task, split) for split in splits]
  _require(all(_layout(other) == _layout(episodes[0]) for other in episodes),
           'sample: shapes differ between splits')
  _check_draws(task, episodes[0])
  _check_latent(task, episodes[0])


def _compiled(device):
  """Returns a device with its functions compiled; checks their arguments."""
  _require(isinstance(device, types.Device), 'make: returns no Device')
  arguments = lambda fn: ', '.join(inspect.signature(fn).parameters)
  for name, fn in ideal.make()._asdict().items():
    found = arguments(getattr(device, name))
    _require(found == arguments(fn),
             f'{name}: takes {found}; must take {arguments(fn)}')
  return types.Device(*map(jax.jit, device))


def _check_layout(device, target, num_pulses):
  """Checks shapes and types of states and reads of one array."""
  state = _call('program', device.program, _key(0), target)
  for name in ('g_uS', 'num_pulses'):
    _require(hasattr(state, name), f'program: the state has no field {name}')
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    _require((jnp.shape(leaf), leaf.dtype) == (target.shape, jnp.float32),
             f'program: state{jax.tree_util.keystr(path)} is {leaf.dtype}'
             f'{list(leaf.shape)}; must be float32{list(target.shape)}')
  ones = jnp.ones(target.shape)
  for name, after in (
      ('pulse', lambda: device.pulse(_key(1), state, num_pulses * ones)),
      ('reset', lambda: device.reset(_key(2), state, ones > 0)),
      ('advance', lambda: device.advance(state, 3.0))):
    _require(_layout(_call(name, after)) == _layout(state),
             f'{name}: changes the shapes or types of the state')
  g_uS = _call('read', device.read, _key(3), state, 50.0)
  mean, sigma = _call('read_stats', device.read_stats, state, 50.0)
  for name, x in (('read', g_uS), ('read_stats', mean), ('read_stats', sigma)):
    _require((x.shape, x.dtype) == (target.shape, jnp.float32),
             f'{name}: returns {x.dtype}{list(x.shape)}; must return '
             f'float32{list(target.shape)}')
    _require(np.all(np.isfinite(x)), f'{name}: is not finite')
  _require(np.all(sigma >= 0), 'read_stats: sigma_uS is negative')


def _run(device, target, count, seed, order=slice(None)):
  """Returns a state that was programmed, pulsed, reset in part, and a read."""
  keys = jax.random.split(_key(seed), 4)
  mask = jnp.array([False, False, True])
  state = device.program(keys[0], target[order])
  state = device.pulse(keys[1], device.advance(state, 10.0), count[order])
  state = device.reset(keys[2], device.advance(state, 10.0), mask[order])
  return state, device.read(keys[3], state, 100.0)


def _check_noise_free(device, target, count):
  """Checks that noise_scale 0 leaves nothing to chance."""
  state, g_uS = _run(device, target, count, 0)
  _require(_same((state, g_uS), _run(device, target, count, 1)),
           'noise_scale 0: the key still changes the result')
  mean, sigma = device.read_stats(state, 100.0)
  _require(not np.any(sigma), 'read_stats: sigma_uS is not 0 at noise_scale 0')
  _require(_same(g_uS, mean), 'read: is not mean_uS at noise_scale 0')
  _require(_same(device.program(_key(0), target).g_uS, target),
           'program: misses the target at noise_scale 0')
  order = np.array([2, 0, 1])
  swapped = jax.tree.map(lambda x: x[order], (state, g_uS))
  _require(_same(swapped, _run(device, target, count, 0, order)),
           'devices: one acts on another; a permutation changes the result')


def _check_no_operation(device, target):
  """Checks that no pulse and an empty mask leave the state as it is."""
  state = device.program(_key(0), target)
  _require(_same(state, device.pulse(_key(1), state, 0 * target)),
           'pulse: no pulse changes the state')
  _require(_same(state, device.reset(_key(2), state, target < 0)),
           'reset: an empty mask changes the state')
  pulsed = device.pulse(_key(1), state, jnp.ones_like(target))
  _require(np.all(pulsed.num_pulses == 1),
           'pulse: state.num_pulses does not count a pulse')
  _require(not np.any(device.reset(_key(2), pulsed, target > 0).num_pulses),
           'reset: state.num_pulses is not 0 after it')


def _check_ages(device, target, count):
  """Checks that time passes alike by `advance` and by elapsed_s."""
  state = device.pulse(_key(1), device.program(_key(0), target), count)
  aged = device.advance(device.advance(state, 1e4), 24.0)
  _require(_close(device.read_stats(state, 11024.0),
                  device.read_stats(aged, 1e3)), 'advance: a device that aged '
           'reads otherwise than one that is read as much later')
  after_reset = lambda state: device.read_stats(
      device.reset(_key(2), state, target > 0), 0.25)
  _require(_close(after_reset(state), after_reset(device.advance(state, 3e8))),
           'reset: what comes after it depends on the years before')


def _check_moments(device, target_uS):
  """Checks that reads have the moments that `read_stats` states."""
  state = jax.tree.map(lambda x: jnp.broadcast_to(x, (NUM_READS,)),
                       device.program(_key(0), jnp.float32(target_uS)))
  sample = np.asarray(device.read(_key(1), state, 1e4), np.float64)
  mean, sigma = (float(x[0]) for x in device.read_stats(state, 1e4))
  error = 6 * sigma / np.sqrt(NUM_READS) + 1e-5
  for name, found, stated in (('mean', sample.mean(), mean),
                              ('standard deviation', sample.std(), sigma)):
    _require(abs(found - stated) <= error, f'read: {NUM_READS} reads have '
             f'{name} {found:.6g} uS; read_stats says {stated:.6g}')


def _check_gradient(device, target, count):
  """Checks that targets and pulses pass a finite gradient to a read."""
  def total(target, count, elapsed_s):
    state = device.program(_key(0), target)
    state = device.pulse(_key(1), device.advance(state, 10.0), count)
    return jnp.sum(device.read(_key(2), state, elapsed_s))

  gradients_fn = jax.jit(jax.grad(total, (0, 1)))
  for elapsed_s in (90.0, 0.0):
    gradients = _call('jax.grad', gradients_fn, target, count, elapsed_s)
    for name, gradient in zip(('target_uS', 'num_pulses'), gradients):
      _require(np.all(np.isfinite(gradient)), f'read after {elapsed_s:g} s: '
               f'the gradient with respect to {name} is not finite')


def _check_transforms(device, target):
  """Checks that pulses and reads work under vmap and scan."""
  def body(state, key):
    key_pulse, key_read = jax.random.split(key)
    state = device.pulse(key_pulse, state, jnp.ones_like(target))
    return state, device.read(key_read, state, 1.0)

  state = device.program(_key(0), target)
  _call('jax.lax.scan', jax.jit(lambda keys: jax.lax.scan(body, state, keys)),
        jax.random.split(_key(1), 3))
  batch = _call('jax.vmap', jax.vmap(device.program, (0, None)),
                jax.random.split(_key(0), 2), target)
  reads = jax.vmap(device.read, (0, 0, None))(
      jax.random.split(_key(1), 2), batch, 9.0)
  _require(reads.shape == (2, *target.shape),
           f'jax.vmap: reads have shape {reads.shape}')


def _check_split(task, split):
  """Returns an episode of a split, checked."""
  episode = _call(f'sample of {split!r}', task.sample, _key(0), task.data,
                  split)
  _require(isinstance(episode, types.Episode), 'sample: returns no Episode')
  for name in ('support', 'query'):
    x, y = getattr(episode, name)
    _require(x.ndim >= 2 and x.shape[-1] == task.num_inputs,
             f'{name}.x has shape {x.shape}; must end in num_inputs = '
             f'{task.num_inputs}')
    _require(y.shape == (x.shape[0], task.num_outputs),
             f'{name}.y has shape {y.shape}; must be '
             f'{(x.shape[0], task.num_outputs)}')
    _require(np.all(np.isfinite(x)), f'{name}.x: is not finite')
    _require(np.all(np.isfinite(y)), f'{name}.y: is not finite')
    if task.metric == 'accuracy':
      _require(np.all((y == 0) | (y == 1)) and np.all(np.sum(y, -1) == 1),
               f'{name}.y: must be one-hot where the metric is accuracy')
  return episode


def _check_draws(task, episode):
  """Checks that the key alone decides, also under jit and vmap."""
  draw = lambda seed: task.sample(_key(seed), task.data)
  _require(_same(episode, draw(0)),
           "sample: the default is not the split 'train'")
  _require(not _same(episode.support, draw(1).support),
           'sample: another key gives the same support set')
  keys = lambda: jax.random.split(_key(2), 4)
  episodes = _call('jax.jit and jax.vmap of sample', jax.jit(jax.vmap(
      lambda key, data: task.sample(key, data, 'test'), (0, None))), keys(),
                   task.data)
  _require(_close(jax.tree.map(lambda x: x[1], episodes),
                  task.sample(keys()[1], task.data, 'test')),
           'sample: gives another episode under jit and vmap')
  for name, loss in _call('baselines', task.baselines, episodes).items():
    _require(jnp.shape(loss) == (4,),
             f'baselines: {name} has shape {jnp.shape(loss)}; must hold one '
             'loss for each of 4 tasks')


def _check_latent(task, episode):
  """Checks `recall` and `dense`, where a task has them."""
  if task.recall is not None:
    again = _call('recall', task.recall, episode.latent, task.data)
    _require(_close((again.support, again.query),
                    (episode.support, episode.query)),
             'recall: gives another episode than sample did')
  if task.dense is not None:
    x, y = _call('dense', task.dense, episode).query
    _require((x.shape[-1], y.shape) == (
        task.num_inputs, (x.shape[0], task.num_outputs)),
             f'dense: its query set has shapes {x.shape} and {y.shape}')


def _layout(tree):
  """Returns what a scan carry must keep: type, shapes and dtypes."""
  leaves, structure = jax.tree.flatten(tree)
  return structure, [(np.shape(x), jnp.result_type(x)) for x in leaves]


def _same(a, b, equal=np.array_equal):
  return _layout(a) == _layout(b) and all(
      equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b))))


def _close(a, b):
  return _same(a, b, lambda x, y: np.allclose(x, y, rtol=1e-4, atol=1e-5))


def _call(what: str, fn: Callable[..., Any], *args: Any) -> Any:
  """Returns fn(*args); what it raises becomes an AssertionError in a line."""
  try:
    return fn(*args)
  except Exception as error:
    raised = f'{type(error).__name__}: {error}'
  _require(False, f'{what}: raises {raised}')


def _require(condition: Any, message: str) -> None:
  if not condition:
    raise AssertionError(' '.join(message.split()))
