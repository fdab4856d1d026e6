"""Contract checks: shipped devices and tasks pass, broken ones are named."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog import testing
from meta_analog.core import types
from meta_analog.devices import ideal
from meta_analog.devices import registry as device_registry
from meta_analog.tasks import sinusoid


@functools.cache  # the same functions are compiled once
def make_device(name, noise_scale):
  params = device_registry.FAMILIES[name].params(noise_scale=noise_scale)
  return device_registry.make(name, params, 4)


def small_task():
  return sinusoid.make(sinusoid.SinusoidParams(), support_size=3, query_size=4)


def refusal(check, *arguments, **keywords):
  with pytest.raises(AssertionError) as found:
    check(*arguments, **keywords)
  assert '\n' not in str(found.value)
  return str(found.value)


@pytest.mark.parametrize('name', [
    name if name in ('ideal', 'pcm') else
    pytest.param(name, marks=pytest.mark.slow)
    for name in sorted(device_registry.FAMILIES)])
def test_shipped_devices_keep_the_contract(name):
  testing.check_device(functools.partial(make_device, name),
                       target_uS=20.0 if name.startswith('reram') else 5.0)


def test_a_shipped_task_keeps_the_contract():
  testing.check_task(small_task)


def test_it_needs_no_pytest():
  code = ('import sys, meta_analog.testing; '
          'assert not {"pytest", "hypothesis"} & {*sys.modules}')
  subprocess.run([sys.executable, '-c', code], check=True)


DRIFTING = ('a device that aged', 'depends on the years before',
            'read_stats says')


def broken(noise_scale, name='ideal', **changes):
  """Returns a device with some functions replaced by `change(function)`."""
  device = make_device(name, noise_scale)
  return device._replace(**{
      name: change(getattr(device, name)) for name, change in changes.items()})


BROKEN = {
    'read: takes': {'read': lambda f: lambda key, state, time_s: f(
        key, state, time_s)},
    'program: state': {'program': lambda f: lambda key, target_uS: f(
        key, target_uS)._replace(num_pulses=jnp.int32(0) * target_uS.astype(
            jnp.int32))},
    'pulse: changes the shapes': {
        'pulse': lambda f: lambda key, state, num_pulses: f(
            key, state, num_pulses)._replace(g_uS=jnp.zeros(7))},
    'read: is not finite': {'read': lambda f: lambda key, state, elapsed_s: (
        jnp.nan * f(key, state, elapsed_s))},
    'read: is not mean_uS': {
        'read': lambda f: lambda key, state, elapsed_s: (
            f(key, state, elapsed_s) + 1.0)},
    'sigma_uS is not 0': {
        'read_stats': lambda f: lambda state, elapsed_s: (
            f(state, elapsed_s)[0], 1.0 + f(state, elapsed_s)[1])},
    'misses the target': {'program': lambda f: lambda key, target_uS: f(
        key, target_uS * 1.01)},
    'the key still changes': {
        'program': lambda f: lambda key, target_uS: f(
            key, target_uS + jax.random.uniform(jax.random.clone(key)))},
    'one acts on another': {'pulse': lambda f: (
        lambda key, state, num_pulses: f(
            key, state, jnp.sort(num_pulses) if num_pulses.ndim else
            num_pulses))},
    'no pulse changes': {'pulse': lambda f: (
        lambda key, state, num_pulses: f(
            key, state, jnp.maximum(num_pulses, 1.0)))},
    'empty mask changes': {'reset': lambda f: lambda key, state, mask: f(
        key, state, jnp.ones_like(mask))},
    'a device that aged': {
        'advance': lambda f: lambda state, elapsed_s: f(
            state, 2.0 * elapsed_s)},
    'depends on the years before': {'reset': lambda f: (
        lambda key, state, mask: f(key, state, mask)._replace(
            age_s=state.age_s))},
    'read_stats says': {'read': lambda f: lambda key, state, elapsed_s: (
        2 * f(key, state, elapsed_s) - f(
            jax.random.key(0), state, elapsed_s))},
    'pulse: raises Tracer': {'pulse': lambda f: (
        lambda key, state, num_pulses: f(key, state, num_pulses)
        if np.any(num_pulses >= 0) else state)},
}


@pytest.mark.parametrize('words', sorted(BROKEN))
def test_a_broken_device_is_refused_in_a_line(words):
  assert words in refusal(
      testing.check_device, functools.partial(
          broken, name='pcm' if words in DRIFTING else 'ideal',
          **BROKEN[words]))


def test_an_infinite_gradient_is_refused():
  @jax.custom_jvp
  def bad(x):
    return x

  bad.defjvp(lambda primals, tangents: (primals[0], jnp.nan * tangents[0]))
  assert 'gradient with respect to target_uS' in refusal(
      testing.check_device, functools.partial(
          broken, program=lambda f: lambda key, target_uS: f(
              key, bad(target_uS))))


def test_no_device_is_refused():
  assert 'returns no Device' in refusal(testing.check_device, lambda scale: 3)
  assert 'make: raises TypeError' in refusal(testing.check_device, lambda: 3)
  assert testing.check_device(
      lambda scale: ideal.make(ideal.IdealParams(noise_scale=scale))) is None


def with_sample(change):
  task = small_task()
  return lambda: task._replace(
      sample=lambda key, data=(), split='train': change(
          task.sample(key, data, split)))


SUPPORT = lambda **changes: with_sample(lambda episode: episode._replace(
    support=episode.support._replace(**{
        name: change(getattr(episode.support, name))
        for name, change in changes.items()})))
TASKS = {
    'make: returns no Task': lambda: types.Samples(1, 2),
    'num_inputs = 0': lambda: small_task()._replace(num_inputs=0),
    "metric = 'loss'": lambda: small_task()._replace(metric='loss'),
    'image_shape = (2, 2, 1)': lambda: small_task()._replace(
        image_shape=(2, 2, 1)),
    'returns no Episode': with_sample(tuple),
    'support.x has shape (3, 2)': SUPPORT(x=lambda x: jnp.tile(x, (1, 2))),
    'support.y has shape (3,)': SUPPORT(y=lambda y: y[:, 0]),
    'support.x: is not finite': SUPPORT(x=lambda x: jnp.inf * x),
    'another key gives the same': SUPPORT(x=jnp.zeros_like, y=jnp.zeros_like),
    'one-hot': lambda: small_task()._replace(metric='accuracy'),
    'baselines: predict_mean': lambda: small_task()._replace(
        baselines=lambda episodes: {'predict_mean': jnp.zeros(())}),
    'recall: gives another': lambda: small_task()._replace(
        recall=lambda latent, data: small_task().sample(jax.random.key(9))),
    'dense: its query set': lambda: small_task()._replace(
        dense=lambda episode: episode._replace(query=types.Samples(
            jnp.zeros((5, 1)), jnp.zeros(5)))),
}


@pytest.mark.parametrize('words', sorted(TASKS))
def test_a_broken_task_is_refused_in_a_line(words):
  assert words in refusal(testing.check_task, TASKS[words])
