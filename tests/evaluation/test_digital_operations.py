"""Digital operations are those of loops in NumPy, counted one by one."""

import types

import numpy as np
import pytest

from meta_analog.core import quantization
from meta_analog.crossbar import energy
from meta_analog.evaluation import digital_operations

LAYERS = (energy.Layer(9, 4, 2, 1, num_products=6), energy.Layer(5, 3, 2, 1),
          energy.Layer(4, 2, 2, 1))
N, T, BITS = 5, 7, 3
K = quantization.max_level(BITS)


def _adapt(**changes):
  return types.SimpleNamespace(**{
      'rule': 'ridge', 'encoding': 'descent', 'write': 'open_loop',
      'layers': 'output', 'update_bits': BITS, 'num_steps': 3,
      'num_events': 2} | changes)


class Counter:
  """Counts multiply-adds, and checks that the loops compute something."""

  def __init__(self):
    self.number = 0

  def dot(self, a, b):
    self.number += len(a)
    return float(np.dot(a, b))


def test_ridge_is_counted_by_its_loops():
  random, counter = np.random.RandomState(0), Counter()
  f, e = random.randn(N, 4), random.randn(N, 2)
  gram = np.zeros((N, N))
  for i in range(N):
    for j in range(i + 1):
      gram[i, j] = gram[j, i] = counter.dot(f[i], f[j])
  gram += 0.1 * np.eye(N)
  lower = np.zeros((N, N))
  for j in range(N):  # Cholesky
    for i in range(j, N):
      rest = gram[i, j] - counter.dot(lower[i, :j], lower[j, :j])
      lower[i, j] = rest**0.5 if i == j else rest / lower[j, j]
  solved = np.zeros((N, 2))
  for o in range(2):
    half = np.zeros(N)
    for i in range(N):
      half[i] = (e[i, o] - counter.dot(lower[i, :i], half[:i])) / lower[i, i]
    for i in reversed(range(N)):
      solved[i, o] = (half[i] - counter.dot(
          lower[i + 1:, i], solved[i + 1:, o])) / lower[i, i]
  delta_w = np.array([[counter.dot(f[:, k], solved[:, o]) for o in range(2)]
                      for k in range(4)])
  np.testing.assert_allclose(delta_w, f.T @ np.linalg.solve(gram, e))
  # Square roots and divisions, N (N + 1) / 2 + 2 N O, are not multiply-adds;
  # the formula has the leading terms.
  divisions = N * (N + 1) / 2 + 2 * N * 2
  counted = digital_operations.ridge(N, 4, 2)
  assert counter.number <= counted <= counter.number + divisions


def test_the_descent_is_counted_by_its_loops():
  random, counter = np.random.RandomState(0), Counter()
  f, residual = random.randn(N, 4), random.randn(N, 2)
  levels = np.linspace(-1, 1, 2 * K + 1)
  weights = np.zeros((4, 2))
  power = [counter.dot(f[:, i], f[:, i]) for i in range(4)]
  for n in range(N):
    for o in range(2):
      residual[n, o] -= counter.dot(f[n], weights[:, o])
  for _ in range(digital_operations.NUM_SWEEPS):
    for i in range(4):
      for o in range(2):
        slope = counter.dot(f[:, i], residual[:, o]) + power[i] * weights[i, o]
        objective = [power[i] * x * x - 2 * slope * x for x in levels]
        counter.number += 2 * len(levels)
        new = levels[np.argmin(objective)]
        residual[:, o] -= f[:, i] * (new - weights[i, o])
        counter.number += N
        weights[i, o] = new
  assert counter.number == digital_operations.descent(N, 4, 2, K)


def test_a_forward_pass_is_counted_by_its_values():
  # In a step: 24 + 3 + 2 scaled outputs, 27 neurons of three operations, and
  # two averages.
  expected = 7 * (29 + 3 * 27 + 2)
  assert digital_operations.sample(LAYERS, T) == expected


def test_an_event_is_the_sum_of_its_parts():
  table = 2 * 4 * 2 * (2 + K) * 5  # 8 weights, 2 devices, both polarities
  shared = N * 2 + N * T * 4  # errors, features
  ridge = shared + digital_operations.ridge(N, 4, 2)
  event = lambda **changes: digital_operations.event(
      _adapt(**changes), LAYERS, N, T)
  assert event() == ridge + table + 8 * K + digital_operations.descent(
      N, 4, 2, K)
  assert event(encoding='nearest') == ridge + table + 8 * K
  assert event(encoding='threshold') == ridge + 8
  assert event(update_bits=1) == ridge + 8
  assert event(write='exact') == ridge
  # Three steps of N F O, twice: the residual and the slope.
  assert event(write='exact', rule='delta') == shared + 3 * 2 * N * 4 * 2


def test_all_layers_are_updated_back_through_time():
  products = 6 * 9 * 4 + 5 * 3 + 4 * 2
  weights = 9 * 4 + 5 * 3 + 4 * 2
  backward = N * T * (2 * products + 3 * (6 * 4 + 3))
  assert digital_operations.event(
      _adapt(layers='all', rule='delta', num_steps=1, encoding='threshold'),
      LAYERS, N, T) == N * 2 + backward + weights


@pytest.mark.parametrize('programming, extra', [
    ('statistical', 0), ('descent', 2 * 3 * 10 * (36 + 15 + 8))])
def test_a_deployment_is_counted_with_its_reads(programming, extra):
  section = types.SimpleNamespace
  config = section(
      network=section(num_time_steps=T), adapt=_adapt(),
      evaluation=section(programming=programming),
      descent=section(num_iterations=3, num_inputs=10),
      task=section(support_size=N))
  found = digital_operations.count(
      config, LAYERS, energy.Counts(5, 5, 1000), energy.Counts(5, 5, 40))
  event = digital_operations.event(_adapt(), LAYERS, N, T)
  assert found == energy.Operations(
      1000 + extra, digital_operations.sample(LAYERS, T), 40 + 2 * event)
