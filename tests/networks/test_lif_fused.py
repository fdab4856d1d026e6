"""The fused time loop against the differentiated scan, which is its oracle."""

import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import currents as currents_lib
from meta_analog.networks import lif
from meta_analog.networks import lif_fused
from tests.oracles import network as oracles

NUM_STEPS, ROW = 20, (3, 4)
MARGIN = 1e-5  # a potential this far from threshold spikes alike in float32
# Parts of a current, by a name for jit: a function and its `parts`.
KINDS = ('line', 'converted', 'constant', 'noisy', 'noise_and_steps', 'two',
         'small_first')
kinds = pytest.mark.parametrize('kind', KINDS)
decays = st.floats(0.05, 0.98)
thresholds = st.floats(0.2, 2.0)
seeds = st.integers(0, 2**31 - 1)


def line(steps, noise, fixed):
  del noise, fixed
  return steps


def converted(steps, noise, fixed):
  """A gain, a shift and a converter of 16 levels, straight through."""
  del noise
  gain, shift = fixed
  y = gain * steps + shift
  limited = jnp.clip(y, -3.0, 3.0)
  return limited + jax.lax.stop_gradient(
      0.4 * jnp.round(limited / 0.4) - limited)


def constant(steps, noise, fixed):
  del steps, noise
  return fixed[0] * fixed[1]


def noisy(steps, noise, fixed):
  del steps
  return fixed[0] + jnp.square(fixed[1]) * noise['noise']


def noise_and_steps(steps, noise, fixed):
  return fixed[0] * steps + jnp.square(fixed[1]) * noise['noise']


def two(steps, noise, fixed):
  """A whole row, and one that differs between columns alone."""
  del noise
  return fixed[0] + steps[0] * steps[1]


small_first = two


def parts(kind, seed, batch=()):
  """Returns ((steps, noise), fixed) of a source, with leading axes `batch`."""
  keys = jax.random.split(jax.random.key(seed), 4)
  step = 2.0 * jax.random.normal(keys[0], batch + (NUM_STEPS,) + ROW) + 0.5
  one = 2.0 * jax.random.normal(keys[1], batch + ROW) + 0.5
  column = 1.0 + 0.2 * jax.random.normal(keys[2], batch + (1,) + ROW[1:])
  noise = {'noise': jax.random.normal(keys[3], step.shape)}
  few = step[..., :1, :] - 1.0
  return {'two': (((step, few), ()), (one,)),
          'small_first': (((few, step), ()), (one,)),
          'line': ((step, ()), ()), 'converted': ((step, ()), (column, one)),
          'constant': (((), ()), (one, column)),
          'noisy': (((), noise), (one, column)),
          'noise_and_steps': ((step, noise), (one, column))}[kind]


def source(kind, steps_and_noise, fixed):
  return currents_lib.Source(globals()[kind], *steps_and_noise, fixed,
                             NUM_STEPS)


@functools.partial(
    jax.jit, static_argnames=('kind', 'name', 'plain', 'batched', 'unroll'))
def value_and_gradients(
    args, cotangents, *, kind, name='fast_sigmoid', plain=False, batched=0,
    unroll=0):
  """Returns spikes and the derivatives of a weighted sum of all outputs."""
  activity_fn = lif.activity if plain else functools.partial(
      lif_fused.activity, unroll=unroll)

  def one(args, cotangents):
    steps, fixed, decay, threshold, weights = args
    out = activity_fn(source(kind, steps, fixed), lif.Neuron(decay, threshold),
                      weights, surrogate=lif.SURROGATES[name])
    # Squares, so that the cotangent of a sum depends on the sum itself.
    return jnp.sum(cotangents[0] * out.spikes) + jnp.sum(
        cotangents[1] * jnp.square(out.sums)), out

  grad = jax.grad(one, has_aux=True)
  for _ in range(batched):
    grad = jax.vmap(grad)
  return grad(args, cotangents)


def arguments(kind, seed, decay, threshold, batch=()):
  steps, fixed = parts(kind, seed, batch)
  keys = jax.random.split(jax.random.key(seed ^ 1), 3)
  full = lambda x: jnp.broadcast_to(jnp.float32(x), batch)
  weights = jax.random.normal(keys[0], batch + (NUM_STEPS, 2))
  cotangents = (jax.random.normal(keys[1], batch + (NUM_STEPS,) + ROW),
                jax.random.normal(keys[2], batch + (2,) + ROW))
  return (steps, fixed, full(decay), full(threshold), weights), cotangents


def assume_clear_of_threshold(kind, args, batched=0):
  """Rejects an example where a rounding error may flip a spike."""
  currents_of = lambda steps, fixed: currents_lib.currents(
      source(kind, steps, fixed))
  for _ in range(batched):
    currents_of = jax.vmap(currents_of)
  steps, fixed, decay, threshold, _ = args
  currents = np.asarray(currents_of(steps, fixed))
  flat = currents.reshape((-1,) + currents.shape[batched:])
  for one, a, v_th in zip(flat, np.ravel(decay), np.ravel(threshold),
                          strict=True):
    hypothesis.assume(oracles.lif_spikes(one, a, v_th)[1] > MARGIN)


def assert_equals_plain(args, cotangents, **static):
  plain = value_and_gradients(
      args, cotangents, plain=True, **(static | {'unroll': 0}))
  found = value_and_gradients(args, cotangents, **static)
  np.testing.assert_array_equal(found[1].spikes, plain[1].spikes)
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(
        a, b, rtol=1e-4, atol=1e-5 * (1.0 + np.max(np.abs(b))))


@kinds
@hypothesis.given(seed=seeds, decay=decays, threshold=thresholds)
def test_outputs_and_gradients_are_those_of_the_scan(
    kind, seed, decay, threshold):
  args, cotangents = arguments(kind, seed, decay, threshold)
  assume_clear_of_threshold(kind, args)
  assert_equals_plain(args, cotangents, kind=kind)


@pytest.mark.parametrize('name', sorted(lif.SURROGATES))
@hypothesis.given(seed=seeds)
def test_every_surrogate_is_differentiated_as_in_the_scan(name, seed):
  args, cotangents = arguments('line', seed, 0.9, 0.7)
  assume_clear_of_threshold('line', args)
  assert_equals_plain(args, cotangents, kind='line', name=name)


@pytest.mark.parametrize('kind', [
    pytest.param(kind, marks=() if kind in (
        'converted', 'noise_and_steps', 'small_first') else pytest.mark.slow)
    for kind in KINDS])
@hypothesis.given(seed=seeds)
@hypothesis.settings(max_examples=5)
def test_two_vmaps_change_nothing(kind, seed):
  args, cotangents = arguments(
      kind, seed, np.linspace(0.3, 0.9, 6).reshape(2, 3),
      np.linspace(1.3, 0.4, 6).reshape(2, 3), batch=(2, 3))
  assume_clear_of_threshold(kind, args, batched=2)
  assert_equals_plain(args, cotangents, kind=kind, batched=2)


# Of 20 steps none, six or all are left after the whole iterations.
@pytest.mark.parametrize('unroll, kind', [
    pytest.param(unroll, kind, marks=() if (
        kind == 'noise_and_steps') else pytest.mark.slow)
    for unroll in (5, 7, 50)
    for kind in ('converted', 'constant', 'noisy', 'noise_and_steps', 'two')])
@hypothesis.given(seed=seeds)
@hypothesis.settings(max_examples=5)
def test_unrolled_steps_are_the_same_steps(kind, unroll, seed):
  args, cotangents = arguments(kind, seed, np.array([0.5, 0.9]),
                               np.array([0.5, 1.2]), batch=(2,))
  assume_clear_of_threshold(kind, args, batched=1)
  assert_equals_plain(
      args, cotangents, kind=kind, batched=1, unroll=unroll)


@pytest.mark.parametrize('backend, size', [('cpu', 1), ('gpu', 15)])
def test_steps_are_unrolled_on_accelerators_only(backend, size, monkeypatch):
  args, cotangents = arguments('line', 11, 0.9, 0.7)
  loop, sizes = lif_fused._loop, []
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(lif_fused, 'UNROLL', 15)
  monkeypatch.setattr(lif_fused, '_loop', lambda size, *args, **kwargs: (
      sizes.append(size), loop(size, *args, **kwargs))[1])
  jax.make_jaxpr(lambda *args: value_and_gradients.__wrapped__(
      *args, kind='line'))(args, cotangents)
  assert set(sizes) == {(NUM_STEPS, size)}


@kinds
def test_unbatched_arguments_are_shared(kind):
  (steps, fixed, decay, threshold, weights), _ = arguments(kind, 3, 0.9, 0.7)
  thresholds_ = jnp.array([0.4, 0.7, 1.1])
  run = lambda threshold: lif_fused.activity(
      source(kind, steps, fixed), lif.Neuron(decay, threshold), weights)
  together, run = jax.jit(jax.vmap(run))(thresholds_), jax.jit(run)
  for i, v_th in enumerate(thresholds_):
    for a, b in zip(together, run(v_th), strict=True):
      np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


def test_neurons_may_differ_within_a_layer():
  (steps, fixed, _, _, weights), cotangents = arguments('line', 5, 0.9, 0.7)
  decay = jnp.array([[0.5, 0.8, 0.9, 0.95]])
  threshold = jnp.array([[0.3, 0.5, 1.0, 1.5]])
  assert_equals_plain(
      (steps, fixed, decay, threshold, weights), cotangents, kind='line')


@pytest.mark.parametrize('plain', (False, True))
def test_no_gradient_goes_to_the_noise(plain):
  args, cotangents = arguments('noise_and_steps', 7, 0.9, 0.7)
  (steps_bar, noise_bar), *_ = value_and_gradients(
      args, cotangents, kind='noise_and_steps', plain=plain)[0]
  assert np.all(noise_bar['noise'] == 0) and np.any(steps_bar != 0)


def test_a_second_derivative_is_not_a_number():
  (steps, fixed, decay, threshold, weights), _ = arguments('line', 5, 0.9, 0.7)

  def loss(steps):
    out = lif_fused.activity(source('line', steps, fixed),
                             lif.Neuron(decay, threshold), weights)
    return jnp.sum(jnp.square(out.sums))

  twice = jax.jit(jax.grad(
      lambda x: jnp.sum(jnp.square(jax.grad(loss)(x)[0]))))(steps)[0]
  assert np.all(np.isnan(twice))
