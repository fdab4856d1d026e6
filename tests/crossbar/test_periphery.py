"""The periphery against loops that a student could check by hand."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.crossbar import array
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery

NUM_STEPS, NUM_SAMPLES, NUM_ROWS, NUM_OUTPUTS = 3, 5, 9, 4
bits = st.sampled_from([1, 2, 3, 4, 8, 12])
seeds = st.integers(0, 2**16)


def uniform(seed, shape, low=-1.0, high=1.0):
  return jax.random.uniform(
      jax.random.key(seed), shape, minval=low, maxval=high)


def layer_of(weights, variance=None, columns=None, tile_rows=256, factor=1.0):
  if variance is None:
    variance = jnp.zeros_like(weights)
  if columns is None:
    columns = periphery.perfect_columns(*weights.shape, tile_rows)
  return matvec.LayerReading(
      array.Reading(weights, variance), columns, jnp.float32(1.0), factor)


def run(layer, inputs, design=periphery.Periphery(adc_range=100.0), seed=0):
  return np.asarray(matvec.product(
      jax.random.key(seed), design, layer, inputs, NUM_STEPS))


# Converters.


@given(bits, seeds, st.floats(0.1, 10.0))
def test_a_converter_rounds_by_at_most_half_a_step_and_once(b, seed, scale):
  x = uniform(seed, (64,), -2.0 * scale, 2.0 * scale)
  y = np.asarray(periphery.convert(x, jnp.float32(scale), bits=b))
  again = np.asarray(
      periphery.convert(jnp.asarray(y), jnp.float32(scale), bits=b))
  np.testing.assert_allclose(again, y, rtol=1e-5, atol=1e-6)
  assert np.all(np.abs(y) <= scale * (1 + 1e-6))
  assert len(np.unique(np.round(y / scale, 5))) <= max(2, 2**b - 1)
  if b > 1:
    step = scale / (2 ** (b - 1) - 1)
    limited = np.clip(x, -scale, scale)
    assert np.all(np.abs(y - limited) <= 0.5 * step * (1 + 1e-4))


def test_eight_bits_are_255_levels_with_zero_among_them():
  x = jnp.linspace(-1.0, 1.0, 100_001)
  levels = np.unique(periphery.convert(x, jnp.float32(1.0), bits=8))
  assert len(levels) == 255 and 0.0 in levels
  np.testing.assert_allclose(np.diff(levels), 1 / 127, rtol=1e-4)


def test_32_bits_only_limit():
  x = jnp.float32([-3.0, -0.1234567, 0.7654321, 3.0])
  np.testing.assert_array_equal(
      periphery.convert(x, jnp.float32(2.0), bits=32), [-2.0, x[1], x[2], 2.0])


@pytest.mark.parametrize('b', [1, 2, 8, 32])
def test_a_converter_passes_the_gradient_inside_its_range_only(b):
  x = jnp.array([-3.0, -0.4, 0.0, 0.9, 3.0])
  slope = jax.grad(
      lambda x: jnp.sum(periphery.convert(x, jnp.float32(1.0), bits=b)))(x)
  np.testing.assert_array_equal(slope, [0.0, 1.0, 1.0, 1.0, 0.0])


def test_the_dac_drives_levels_and_leaves_spikes_alone():
  design = periphery.Periphery(dac_bits=3)
  x = jnp.array([0.0, 1.0, 0.3, -0.9])
  np.testing.assert_allclose(
      periphery.drive(design, x), [0.0, 1.0, 1 / 3, -1.0], rtol=1e-6)


# Products.


@pytest.mark.parametrize('tile_rows', [2, 3, 8, 9, 256])
def test_tiles_sum_to_the_product_of_the_whole(tile_rows):
  weights = np.asarray(uniform(0, (NUM_ROWS, NUM_OUTPUTS)))
  x = uniform(1, (NUM_STEPS, NUM_SAMPLES, NUM_ROWS - 1))
  layer = layer_of(jnp.asarray(weights), tile_rows=tile_rows)
  y = run(layer, x, periphery.Periphery(adc_range=100.0, tile_rows=tile_rows))
  np.testing.assert_allclose(
      y, np.asarray(x) @ weights[:-1] + weights[-1], rtol=1e-4,
      atol=1e-5)


@pytest.mark.parametrize('constant', [False, True])
def test_columns_and_adc_equal_a_loop_over_tiles_and_columns(constant):
  tile_rows, adc_bits, adc_range, factor = 4, 5, 1.5, 1.2
  weights = np.asarray(uniform(0, (NUM_ROWS, NUM_OUTPUTS)), np.float64)
  shape = (NUM_STEPS, NUM_SAMPLES, NUM_ROWS - 1)
  x = np.array(uniform(1, shape[1:] if constant else shape), np.float64)
  columns = periphery.Columns(gain=uniform(2, (3, NUM_OUTPUTS), 0.8, 1.2),
                              offset=uniform(3, (3, NUM_OUTPUTS), -0.2, 0.2))
  design = periphery.Periphery(
      adc_bits=adc_bits, adc_range=adc_range, tile_rows=tile_rows)
  y = run(layer_of(jnp.float32(weights), columns=columns, factor=factor),
          jnp.float32(x), design)
  step = adc_range / (2 ** (adc_bits - 1) - 1)
  for t, n, o in np.ndindex(NUM_STEPS, NUM_SAMPLES, NUM_OUTPUTS):
    rows = np.append(x[n] if constant else x[t, n], 1.0)
    total = 0.0
    for k in range(3):
      tile = slice(k * tile_rows, (k + 1) * tile_rows)
      value = float(columns.gain[k, o]) * (rows[tile] @ weights[tile, o])
      value += float(columns.offset[k, o])
      # The last tile holds the bias alone: one row reaches 1.
      reach = min(adc_range, 1.0) if k == 2 else adc_range
      levels = reach / (2 ** (adc_bits - 1) - 1)
      total += levels * np.round(np.clip(value, -reach, reach) / levels)
    # A value on the edge between two levels may go either way.
    assert abs(y[t, n, o] - factor * total) < 1e-3 or (
        abs(abs(y[t, n, o] - factor * total) - factor * step) < 1e-3)


def test_tiles_have_noise_of_their_own_that_adds_up():
  # 4096 products: 6 errors are 7 % of the std.
  weights = jnp.zeros((NUM_ROWS, 1))
  variance = jnp.full((NUM_ROWS, 1), 0.04)
  x = jnp.ones((4096, NUM_ROWS - 1))
  for tile_rows in (3, 256):
    y = run(layer_of(weights, variance, tile_rows=tile_rows), x,
            periphery.Periphery(adc_range=100.0, tile_rows=tile_rows))
    sigma = 0.2 * np.sqrt(NUM_ROWS)
    assert abs(y[0].std() - sigma) < 6 * sigma / np.sqrt(2 * 4096)


def test_a_column_offset_and_gain_are_drawn_for_each_chip_and_tile():
  # 4096 columns: 6 errors are 7 % of the std.
  design = periphery.Periphery(tile_rows=4, gain_std=0.1, offset_std=0.02)
  columns = periphery.make_columns(
      jax.random.key(0), design, 8, 2048, jnp.float32(5.0))
  assert columns.gain.shape == (2, 2048)
  for sample, mean, std in ((columns.gain, 1.0, 0.1),
                            (columns.offset, 0.0, 0.1)):
    assert abs(np.mean(sample) - mean) < 6 * std / np.sqrt(4096)
    assert abs(np.std(sample) - std) < 6 * std / np.sqrt(2 * 4096)
  assert abs(np.corrcoef(np.ravel(columns.gain), np.ravel(columns.offset))[
      0, 1]) < 6 / np.sqrt(4096)


# Wires.


def test_ir_drop_equals_the_loop_over_rows():
  weights = np.asarray(uniform(0, (NUM_ROWS, NUM_OUTPUTS)), np.float64)
  x = np.asarray(uniform(1, (NUM_SAMPLES, NUM_ROWS - 1)), np.float64)
  scale = 3e4  # as if the wires were so much longer
  y = run(layer_of(jnp.float32(weights)), jnp.float32(x),
          periphery.Periphery(adc_range=100.0, ir_drop=scale))
  for n, o in np.ndindex(NUM_SAMPLES, NUM_OUTPUTS):
    rows = np.append(x[n], 1.0)
    a = NUM_ROWS / 5.7143e5 * sum(
        abs(w * v) for w, v in zip(weights[:, o], rows))
    c = a * (a * (0.05 * a - 0.2) + 0.5)
    lost = sum(
        w * v * (1 - (1 - j / NUM_ROWS) ** 2)
        for j, (w, v) in enumerate(zip(weights[:, o], rows)))
    expected = rows @ weights[:, o] - scale * c * lost
    np.testing.assert_allclose(y[0, n, o], expected, rtol=1e-3, atol=1e-3)


def test_the_wire_takes_the_published_polynomial_of_the_load():
  np.testing.assert_allclose(
      matvec.wire_loss(np.array([0.0, 1.0, 2.0])),
      [0.0, 0.05 - 0.2 + 0.5, 0.4 - 0.8 + 1.0], rtol=1e-12)


@given(seeds)
def test_ir_drop_shrinks_an_output_of_positive_weights(seed):
  weights = uniform(seed, (NUM_ROWS, NUM_OUTPUTS), 0.1, 1.0)
  x = jnp.ones((NUM_SAMPLES, NUM_ROWS - 1))
  y = [run(layer_of(weights), x,
           periphery.Periphery(adc_range=100.0, ir_drop=s))
       for s in (0.0, 100.0, 1000.0)]
  assert np.all(y[0] > y[1]) and np.all(y[1] > y[2])
