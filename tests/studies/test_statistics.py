"""Tests of a study's table: means, intervals, and the text made of them."""

import numpy as np
import pytest
from scipy import stats

from meta_analog.studies import markdown
from meta_analog.studies import statistics


def _result(mean, half=0.01):
  return {'mean': mean, 'ci95': half}


def test_an_interval_over_seeds_is_that_of_a_loop():
  rng = np.random.default_rng(0)
  for n in (2, 3, 7):
    means, halves = rng.uniform(0.1, 1.0, n), rng.uniform(0.01, 0.1, n)
    found = statistics.combine([_result(*x) for x in zip(means, halves)])
    mean = sum(means) / n
    variance = 0.0
    for x in means:
      variance += (x - mean) ** 2 / (n - 1)
    seeds = stats.t.ppf(0.975, n - 1) * (variance / n) ** 0.5
    chips = sum(half ** 2 for half in halves) ** 0.5 / n
    assert np.isclose(found['mean'], mean, rtol=1e-6)
    assert np.isclose(found['ci95_seeds'], seeds, rtol=1e-4)
    assert np.isclose(found['ci95_chips'], chips, rtol=1e-6)
    assert found['ci95'] == max(found['ci95_seeds'], found['ci95_chips'])


def test_seeds_that_agree_by_luck_leave_the_interval_of_the_chips():
  found = statistics.combine([_result(0.1, 0.03)] * 9)
  assert found['ci95_seeds'] < 1e-9 and np.isclose(found['ci95'], 0.01)


def test_one_seed_has_the_interval_of_its_chips_and_one_chip_has_none():
  assert statistics.combine([_result(0.1, 0.03)])['ci95'] == 0.03
  assert statistics.combine([_result(0.1, None)])['ci95'] is None
  both = statistics.combine([_result(0.1, None), _result(0.3, None)])
  assert both['ci95'] == both['ci95_seeds'] > 0


def test_the_interval_over_seeds_covers_the_truth_as_often_as_it_says():
  # Trainings spread by 1, chips by 0.5: 20,000 studies tell 95 % to 0.15 %.
  rng, n = np.random.default_rng(1), 3
  means = rng.normal(size=(20_000, n)) + 0.5 * rng.normal(size=(20_000, n))
  halves = [statistics.combine([_result(x, None) for x in row])['ci95']
            for row in means]
  covered = np.mean(np.abs(means.mean(axis=1)) < halves)
  assert abs(covered - 0.95) < 0.01


@pytest.mark.parametrize('mean, half, text', [
    (0.129, 0.009, '0.129 ± 0.009'), (0.0123, 0.0014, '0.0123 ± 0.0014'),
    (0.00081, 0.00004, '0.00081 ± 0.00004'), (0.1, 0.0, '0.100 ± 0.000'),
    (0.1, None, '0.100'), (0.20000003, 1e-8, '0.200 ± 0.000')])
def test_a_number_shows_a_digit_of_its_interval(mean, half, text):
  assert markdown.number(_result(mean, half)) == text


def test_a_change_is_that_of_pairs_of_seeds():
  row = lambda seed, mean: {
      'seed': seed, 'after_by_time_s': {'251': _result(mean)}}
  before = [row(0, 0.1), row(1, 0.5), row(2, 0.9)]
  after = [row(2, 0.95), row(0, 0.11), row(1, 0.53), row(7, 9.0)]
  found = statistics.change(after, before, '251')
  pairs = np.array([0.05, 0.01, 0.03])
  assert np.isclose(found['mean'], pairs.mean())
  assert np.isclose(found['ci95'], stats.t.ppf(0.975, 2) * pairs.std(
      ddof=1) / 3 ** 0.5, rtol=1e-4)
  assert statistics.change(after[3:], before, '251') is None
  assert statistics.change(after, before, '86400') is None
