"""Nearest level of a pulse response: values against a loop, and gradients."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.programming import pulse_response
from tests.oracles import device as oracles_device

nearest_level = jax.jit(pulse_response.nearest_level)


@st.composite
def _responses(draw):
  heights = draw(st.lists(st.floats(0.0625, 2.0, width=32), min_size=4,
                          max_size=4))
  return np.concatenate([[0.0], np.cumsum(heights)]).astype(np.float32)


@hypothesis.given(response=_responses(), x=st.floats(-1.0, 10.0, width=32))
def test_half_a_step_as_threshold_gives_the_nearest_level(response, x):
  level = nearest_level(np.float32(x), response, np.float32(0.5))
  reached = abs(response[int(level)] - x)
  assert reached <= np.min(abs(response - x)) + 1e-5


@hypothesis.given(
    response=_responses(), x=st.floats(-1.0, 10.0, width=32),
    threshold=st.floats(0.0, 3.0, width=32))
def test_the_level_is_that_of_a_loop_over_edges(response, x, threshold):
  middles = 0.5 * (response[1:] + response[:-1])
  edges = np.append(middles, threshold * response[1])
  hypothesis.assume(np.min(abs(edges - x)) > 1e-4)
  level = nearest_level(np.float32(x), response, np.float32(threshold))
  assert level == oracles_device.pulse_level(x, response, threshold)


def test_arrays_of_the_documented_shapes_are_taken():
  response = np.cumsum([[[0.0] * 3] * 2, [[1, 2, 3.0], [1, 1, 1]],
                      [[0.5, 1, 1], [1, 2, 3]]], axis=0)  # [K + 1, 2, 3]
  x = np.array([[0.4, 1.1, 9.0], [-1.0, 2.3, 2.6]])
  level = nearest_level(jnp.array(x), jnp.array(response), 0.5)
  expected = [[oracles_device.pulse_level(x[i, j], response[:, i, j], 0.5)
               for j in range(3)] for i in range(2)]
  np.testing.assert_array_equal(level, expected)
  each = nearest_level(
      jnp.array(x), jnp.array(response), jnp.full((2, 3), 0.5))
  np.testing.assert_array_equal(each, expected)


to_x = jax.jit(jax.grad(pulse_response.nearest_level))
to_others = jax.jit(jax.grad(pulse_response.nearest_level, (1, 2)))


@pytest.mark.parametrize('x, slope', [
    (-0.5, 0.0), (0.5, 1.0), (1.9, 1 / 1.5), (2.7, 2.0), (3.5, 0.0)])
def test_the_gradient_is_the_slope_of_the_inverse_response(x, slope):
  response = jnp.array([0.0, 1.0, 2.5, 3.0])
  out = to_x(x, response, 0.5)
  np.testing.assert_allclose(out, slope, rtol=1e-5)


@hypothesis.given(
    x=st.floats(0.0, 10.0, width=32), threshold=st.floats(0.0, 2.0, width=32))
def test_the_threshold_has_the_gradient_of_a_fast_sigmoid(x, threshold):
  response = np.array([0.0, 1.6, 2.5, 3.0], np.float32)
  to_response, to_threshold = to_others(
      np.float32(x), response, np.float32(threshold))
  u = x / 1.6 - threshold
  np.testing.assert_allclose(to_threshold, -1 / (1 + abs(u)) ** 2, rtol=1e-3)
  np.testing.assert_array_equal(to_response, np.zeros(4))
