"""Quantisers and thresholds: values, laws and stated surrogates."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import quantization

BITS = list(range(1, 9))
FLOAT = st.floats(-1e4, 1e4, width=32)
STEP = st.floats(2.0**-10, 2.0**10, width=32)


def _top(bits):
  return 1 if bits == 1 else 2 ** (bits - 1) - 1


def _grad(fn, argnums=0):
  return jax.grad(lambda *args: jnp.sum(fn(*args)), argnums)


# straight_through


@hypothesis.given(
    value=FLOAT, surrogate=FLOAT, scale=st.sampled_from([1.0, 1e20]))
def test_straight_through_returns_the_value_bit_for_bit(
    value, surrogate, scale
):
  value = jnp.float32(value)
  surrogate = jnp.float32(surrogate * scale)
  assert quantization.straight_through(value, surrogate) == value
  assert jax.jit(quantization.straight_through)(value, surrogate) == value


def test_straight_through_keeps_shape_and_dtype():
  value = jnp.ones((2, 3), jnp.float32)
  out = quantization.straight_through(value, 2 * value)
  assert (out.shape, out.dtype) == (value.shape, value.dtype)


def test_straight_through_differentiates_as_the_surrogate_twice():
  fn = lambda x: quantization.straight_through(jnp.round(x), x**3)
  x = jnp.float32(1.7)
  np.testing.assert_allclose(jax.grad(fn)(x), 3 * 1.7**2, rtol=1e-6)
  np.testing.assert_allclose(jax.grad(jax.grad(fn))(x), 6 * 1.7, rtol=1e-6)
  np.testing.assert_allclose(jax.hessian(fn)(x), 6 * 1.7, rtol=1e-6)


def test_straight_through_keeps_the_value_inside_a_product_rule():
  fn = lambda x: x * quantization.straight_through(jnp.round(x), x)
  x = jnp.float32(1.7)
  np.testing.assert_allclose(jax.grad(fn)(x), 2.0 + 1.7, rtol=1e-6)
  np.testing.assert_allclose(jax.grad(jax.grad(fn))(x), 2.0, rtol=1e-6)


def test_straight_through_passes_no_gradient_to_the_value():
  assert jax.grad(quantization.straight_through)(1.0, 2.0) == 0.0
  assert jax.grad(quantization.straight_through, 1)(1.0, 2.0) == 1.0


# saturate


@hypothesis.given(x=FLOAT, low=FLOAT, width=st.floats(0, 100, width=32))
def test_saturate_is_a_clip(x, low, width):
  x, low, high = np.float32(x), np.float32(low), np.float32(low + width)
  assert quantization.saturate(x, low, high) == np.clip(x, low, high)


@pytest.mark.parametrize('x, slope', [
    (-2.0, 0.0), (-1.0, 1.0), (-0.3, 1.0), (0.0, 1.0), (2.0, 1.0), (2.1, 0.0)])
def test_saturate_has_slope_one_on_the_closed_interval_only(x, slope):
  fn = lambda x: quantization.saturate(x, -1.0, 2.0)
  assert jax.grad(fn)(x) == slope
  assert jax.grad(lambda x: 0.5 * fn(x) ** 2)(x) == slope * np.float32(x)
  assert jax.grad(jax.grad(lambda x: 0.5 * fn(x) ** 2))(x) == slope


def test_saturate_passes_no_gradient_to_its_bounds():
  bounds = jax.grad(quantization.saturate, (1, 2))
  for x in (-2.0, 0.0, 3.0):
    assert bounds(x, -1.0, 2.0) == (0.0, 0.0)


# grids


@pytest.mark.parametrize('bits', BITS)
def test_grid_of_b_bits_has_its_number_of_levels(bits):
  top = _top(bits)
  assert quantization.max_level(bits) == top
  x = jnp.linspace(-1.5 * top - 1, 1.5 * top + 1, 20011)
  levels = np.unique(quantization.round_to_level(x, bits=bits))
  expected = [k for k in range(-top, top + 1) if k or bits > 1]
  np.testing.assert_array_equal(levels, expected)
  assert len(levels) == (2 if bits == 1 else 2**bits - 1)


@pytest.mark.parametrize('bits', [0, 9, -1, 16, 2.5, True, False])
def test_bits_outside_one_to_eight_are_refused_by_name(bits):
  with pytest.raises(ValueError, match=f'bits = {bits!r}.*1 to 8'):
    quantization.max_level(bits)
  with pytest.raises(ValueError, match='1 to 8'):
    quantization.round_to_level(jnp.ones(2), bits=bits)


def test_whole_float_bits_are_accepted():
  assert quantization.max_level(4.0) == quantization.max_level(np.int64(4)) == 7


def test_one_bit_is_the_sign_and_zero_counts_as_plus():
  x = jnp.array([-3.0, -1e-9, 0.0, 1e-9, 3.0])
  levels = quantization.round_to_level(x, bits=1)
  np.testing.assert_array_equal(levels, [-1, -1, 1, 1, 1])


@pytest.mark.parametrize('bits', BITS)
@hypothesis.given(x=FLOAT)
def test_rounding_finds_the_nearest_level(bits, x):
  top = _top(bits)
  levels = np.arange(-top, top + 1)
  levels = levels[levels != 0] if bits == 1 else levels
  out = float(quantization.round_to_level(jnp.float32(x), bits=bits))
  assert out in levels
  assert abs(out - x) <= np.min(abs(levels - x)) + 1e-6 * (abs(x) + 1.0)


@pytest.mark.parametrize('bits', BITS)
@hypothesis.given(x=FLOAT)
def test_rounding_is_odd_and_rising(bits, x):
  hypothesis.assume(abs(x) > 1e-3)
  level = quantization.round_to_level(jnp.float32(x), bits=bits)
  assert quantization.round_to_level(jnp.float32(-x), bits=bits) == -level
  assert quantization.round_to_level(jnp.float32(x) + 0.3, bits=bits) >= level


@pytest.mark.parametrize('bits', BITS)
def test_rounding_has_slope_one_up_to_the_top_level_and_none_beyond(bits):
  top = float(_top(bits))
  x = jnp.array([0.0, 0.4, top, -top, top + 0.01, -top - 0.01, 3 * top])
  slope = _grad(lambda x: quantization.round_to_level(x, bits=bits))(x)
  np.testing.assert_array_equal(slope, [1, 1, 1, 1, 0, 0, 0])


# one pulse or none


@hypothesis.given(x=FLOAT, threshold=STEP)
def test_threshold_pulse_is_the_sign_beyond_the_threshold(x, threshold):
  hypothesis.assume(abs(abs(x) - threshold) > 1e-5 * threshold)
  out = quantization.threshold_pulse(jnp.float32(x), jnp.float32(threshold))
  assert out == (np.sign(x) if abs(x) > threshold else 0)


def test_no_pulse_exactly_at_the_threshold():
  out = quantization.threshold_pulse(jnp.array([-0.5, 0.0, 0.5]), 0.5)
  np.testing.assert_array_equal(out, [0, 0, 0])


@hypothesis.given(ratio=st.floats(-30.0, 30.0, width=32), threshold=STEP)
def test_threshold_pulse_differentiates_as_the_fast_sigmoid(ratio, threshold):
  x, threshold = np.float32(ratio * threshold), np.float32(threshold)
  to_x, to_threshold = jax.grad(quantization.threshold_pulse, (0, 1))(x,
                                                                      threshold)
  u = abs(float(x)) / float(threshold) - 1
  slope = 1 / (1 + abs(u)) ** 2 / float(threshold)
  np.testing.assert_allclose(to_x, slope, rtol=1e-3)
  np.testing.assert_allclose(
      to_threshold, -float(x) / float(threshold) * slope, rtol=1e-3, atol=1e-12)


def test_width_of_the_threshold_surrogate_scales_with_the_threshold():
  slope = jax.grad(quantization.threshold_pulse)
  for scale in (1e-3, 1.0, 1e3):
    np.testing.assert_allclose(
        scale * slope(1.7 * scale, scale), slope(1.7, 1.0), rtol=1e-5)
