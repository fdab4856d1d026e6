"""Tests of the learning rules against loops, limits and brute force."""

import re

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.learning import plasticity
from tests.oracles import network as oracles

seeds = st.integers(0, 2**31 - 1)
TINY = (6, 4, 2)  # N, F, O

delta_rule = jax.jit(plasticity.delta_rule, static_argnames=('num_steps',))
ridge = jax.jit(plasticity.ridge)
descend = jax.jit(
    plasticity.coordinate_descent, static_argnames=('num_sweeps',))


def problem(seed, shape=TINY):
  num_samples, num_features, num_outputs = shape
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(num_samples, num_features))
  error = rng.normal(size=(num_samples, num_outputs))
  return features.astype(np.float32), error.astype(np.float32)


def level_problem(seed):
  """Returns a problem, rising levels [5, F, O] and a random start."""
  rng = np.random.default_rng(seed)
  features, error = problem(seed)
  shape = (5,) + TINY[1:]
  levels = np.sort(rng.normal(size=shape), axis=0).astype(np.float32)
  start = rng.integers(0, 5, size=TINY[1:]).astype(np.int32)
  return features, error, levels, start


def test_one_step_of_the_delta_rule_is_the_formula():
  features, error = problem(0)
  np.testing.assert_allclose(
      delta_rule(features, error, 0.3),
      0.3 * features.T @ error / len(features), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('num_steps', [1, 3])
@hypothesis.given(seed=seeds, rate=st.floats(0.0, 0.5))
def test_delta_rule_equals_the_loop(num_steps, seed, rate):
  features, error = problem(seed)
  np.testing.assert_allclose(
      delta_rule(features, error, rate, num_steps=num_steps),
      oracles.delta_rule(features, error, rate, num_steps),
      rtol=1e-4, atol=1e-4)


def test_many_steps_of_the_delta_rule_reach_least_squares():
  features, error = problem(1)
  expected = np.linalg.lstsq(features, error, rcond=None)[0]
  np.testing.assert_allclose(
      delta_rule(features, error, 0.3, num_steps=3000), expected,
      rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('shape', [TINY, (4, 9, 1)])
@hypothesis.given(seed=seeds, log10_penalty=st.floats(-2.0, 1.0))
def test_ridge_solves_the_normal_equations(shape, seed, log10_penalty):
  features, error = problem(seed, shape)
  penalty = np.float32(10.0 ** log10_penalty)
  np.testing.assert_allclose(
      ridge(features, error, penalty),
      oracles.ridge(features.astype(np.float64), error, penalty),
      rtol=1e-3, atol=1e-4)


def test_ridge_without_penalty_is_the_least_change_that_fits():
  features, error = problem(2, (4, 9, 1))
  expected = np.linalg.lstsq(features, error, rcond=None)[0]
  np.testing.assert_allclose(
      ridge(features, error, 1e-7), expected, rtol=1e-3, atol=1e-3)


def test_ridge_with_a_huge_penalty_changes_nothing():
  features, error = problem(3)
  assert np.max(np.abs(ridge(features, error, 1e6))) < 1e-5


def test_systems_of_a_batch_are_solved_apart():
  # Whole batches of LAPACK's may wait for each other for ever.
  features, error = (np.stack(x) for x in zip(*map(problem, range(5))))
  many = jax.vmap(ridge, in_axes=(0, 0, None))
  slope = jax.jit(jax.grad(lambda f, e: jnp.sum(jnp.square(many(f, e, 0.1)))))
  text = slope.lower(features, error).compile().as_text()
  shapes = [re.search(r'f32\[([\d,]*)\]', line)[1]
            for line in text.splitlines() if 'custom-call(' in line]
  assert shapes and all(shape.count(',') == 1 for shape in shapes), shapes
  singly = jnp.stack([ridge(f, e, 0.1) for f, e in zip(features, error)])
  np.testing.assert_allclose(many(features, error, 0.1), singly, rtol=1e-5)


@hypothesis.given(seed=seeds)
def test_order_of_the_support_set_does_not_matter(seed):
  features, error, levels, start = level_problem(seed)
  order = np.random.default_rng(seed).permutation(len(features))
  pairs = [
      (delta_rule(f, e, 0.3, num_steps=3), ridge(f, e, 0.1),
       np.take_along_axis(levels, np.asarray(
           descend(f, e, levels, start, 0.01))[None], axis=0))
      for f, e in ((features, error), (features[order], error[order]))]
  for found, expected in zip(*pairs, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('num_sweeps', [1, 2])
@hypothesis.given(seed=seeds, penalty=st.floats(0.0, 1.0))
def test_descent_never_raises_the_objective(num_sweeps, seed, penalty):
  features, error, levels, start = level_problem(seed)
  found = np.asarray(descend(features, error, levels, start, penalty,
                             num_sweeps=num_sweeps))
  before = oracles.level_objective(features, error, levels, start, penalty)
  after = oracles.level_objective(features, error, levels, found, penalty)
  assert np.all(after <= before + 1e-5 * (1.0 + before))


@pytest.mark.parametrize('array_penalty', [False, True])
@hypothesis.given(seed=seeds)
def test_descent_ends_where_no_single_weight_can_do_better(
    array_penalty, seed):
  features, error, levels, start = level_problem(seed)
  penalty = np.float32(0.05)
  if array_penalty:
    rng = np.random.default_rng(seed + 1)
    penalty = rng.uniform(0.0, 0.3, levels.shape).astype(np.float32)
  found = np.asarray(descend(features, error, levels, start, penalty,
                             num_sweeps=30))
  reached = oracles.level_objective(features, error, levels, found, penalty)
  for i in range(TINY[1]):
    for level in range(len(levels)):
      other = found.copy()
      other[i] = level
      value = oracles.level_objective(
          features, error, levels, other, penalty)
      assert np.all(value >= reached - 1e-4 * (1.0 + reached))
  best = oracles.best_levels(features, error, levels, penalty)
  assert np.all(reached >= best - 1e-6)


@hypothesis.given(seed=seeds)
def test_descent_finds_the_best_levels_of_orthogonal_features(seed):
  # Without correlations each weight is its own problem: one sweep is exact.
  _, error, levels, start = level_problem(seed)
  rng = np.random.default_rng(seed)
  features = np.linalg.qr(rng.normal(size=TINY[:2]))[0].astype(np.float32)
  found = np.asarray(descend(features, error, levels, start, 0.05,
                             num_sweeps=1))
  np.testing.assert_allclose(
      oracles.level_objective(features, error, levels, found, 0.05),
      oracles.best_levels(features, error, levels, 0.05),
      rtol=1e-4, atol=1e-5)


def test_descent_passes_no_gradient():
  features, error, levels, start = map(jnp.asarray, level_problem(0))

  def chosen(levels, error):
    index = plasticity.coordinate_descent(features, error, levels, start, 0.1)
    return jnp.sum(index.astype(jnp.float32))

  for g in jax.grad(chosen, argnums=(0, 1))(levels, error):
    assert not g.any()
