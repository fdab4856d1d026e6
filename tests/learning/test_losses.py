"""Tests of the losses against their definitions."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.learning import losses

seeds = st.integers(0, 2**31 - 1)
SHAPE = (5, 3)

squared_error = jax.jit(losses.squared_error)
squared_error_all_steps = jax.jit(losses.squared_error_all_steps)
softmax_cross_entropy = jax.jit(losses.softmax_cross_entropy)
accuracy = jax.jit(losses.accuracy)
accuracy_all_steps = jax.jit(losses.accuracy_all_steps)
firing_rate_penalty = jax.jit(losses.firing_rate_penalty)


def pair(seed, shape=SHAPE):
  rng = np.random.default_rng(seed)
  return (rng.normal(size=shape).astype(np.float32),
          rng.normal(size=shape[-2:]).astype(np.float32))


def one_hot(seed):
  labels = np.random.default_rng(seed).integers(0, SHAPE[1], SHAPE[0])
  return labels, np.eye(SHAPE[1], dtype=np.float32)[labels]


def test_perfect_outputs_cost_nothing():
  _, y = pair(0)
  assert squared_error(y, y) == 0.0


@hypothesis.given(seed=seeds)
def test_squared_error_is_the_mean_over_samples_of_the_sum(seed):
  outputs, y = pair(seed)
  expected = np.mean([np.sum((o - t) ** 2)
                      for o, t in zip(outputs, y, strict=True)])
  np.testing.assert_allclose(
      squared_error(outputs, y), expected, rtol=1e-5)


@hypothesis.given(seed=seeds)
def test_error_of_all_steps_is_the_mean_over_steps(seed):
  trace, y = pair(seed, (4,) + SHAPE)
  expected = np.mean([np.mean(np.sum((o - y) ** 2, axis=1)) for o in trace])
  np.testing.assert_allclose(
      squared_error_all_steps(trace, y), expected, rtol=1e-5)


def test_error_of_all_steps_counts_the_silent_first_step():
  y = np.ones((2, 1), np.float32)
  trace = np.stack([np.zeros_like(y), y])
  np.testing.assert_allclose(squared_error_all_steps(trace, y), 0.5)


@hypothesis.given(seed=seeds)
def test_cross_entropy_is_minus_log_of_the_right_probability(seed):
  outputs, _ = pair(seed)
  labels, y = one_hot(seed)
  p = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
  expected = -np.mean(np.log(p[np.arange(SHAPE[0]), labels]))
  np.testing.assert_allclose(
      softmax_cross_entropy(outputs, y), expected, rtol=1e-4)


def test_cross_entropy_of_huge_logits_is_finite():
  outputs = jnp.array([[1e4, -1e4, 0.0]])
  loss, grad = jax.value_and_grad(softmax_cross_entropy)(
      outputs, jnp.array([[0.0, 1.0, 0.0]]))
  assert np.isfinite(loss) and np.all(np.isfinite(grad))


def test_even_logits_cost_the_log_of_the_number_of_classes():
  _, y = one_hot(1)
  np.testing.assert_allclose(
      softmax_cross_entropy(jnp.zeros(SHAPE), y), np.log(3.0),
      rtol=1e-6)


@hypothesis.given(seed=seeds)
def test_accuracy_is_the_fraction_of_hits(seed):
  outputs, _ = pair(seed)
  labels, y = one_hot(seed)
  np.testing.assert_allclose(
      accuracy(outputs, y), np.mean(outputs.argmax(axis=1) == labels))


def test_rates_inside_the_band_cost_nothing():
  rates = jnp.array([10.0, 50.0, 100.0])
  assert firing_rate_penalty(rates, 10.0, 100.0) == 0.0


def test_rates_outside_the_band_cost_their_squared_distance():
  rates = jnp.array([0.0, 50.0, 300.0])
  np.testing.assert_allclose(
      firing_rate_penalty(rates, 10.0, 100.0),
      (0.1 ** 2 + 0.0 + 2.0 ** 2) / 3.0, rtol=1e-6)


def test_penalty_pulls_rates_towards_the_band():
  grad = jax.grad(firing_rate_penalty)(
      jnp.array([0.0, 50.0, 300.0]), 10.0, 100.0)
  np.testing.assert_array_equal(np.sign(grad), [-1.0, 0.0, 1.0])


@hypothesis.given(seed=seeds)
def test_accuracy_over_time_is_the_mean_of_its_steps(seed):
  _, y = one_hot(seed)
  trace = jax.random.normal(jax.random.key(seed), (4, *SHAPE))
  np.testing.assert_allclose(
      accuracy_all_steps(trace, y),
      np.mean([accuracy(outputs, y) for outputs in trace]), rtol=1e-6)


def test_a_scale_of_the_logits_is_that_of_the_outputs():
  outputs, _ = pair(3)
  _, y = one_hot(3)
  np.testing.assert_allclose(
      softmax_cross_entropy(outputs, y, scale=5.0),
      softmax_cross_entropy(5.0 * outputs, y), rtol=1e-6)
