"""Confidence intervals: the quantile, a loop, and how often they hold."""

import numpy as np
import pytest
from scipy import stats

from meta_analog.evaluation import intervals


@pytest.mark.parametrize('freedom', (1, 2, 3, 9, 10, 11, 30, 1000))
def test_the_quantile_is_that_of_students_t(freedom):
  assert np.isclose(intervals.t_975(freedom), stats.t.ppf(0.975, freedom),
                    rtol=1e-9)


@pytest.mark.parametrize('num_chips', (2, 4, 10, 100))
def test_an_interval_over_chips_covers_the_truth_in_95_of_100(num_chips):
  # Tasks of a chip share its error. 20,000 tests tell 95 % to 0.15 %.
  rng, num_tasks = np.random.default_rng(num_chips), 3
  chips = np.repeat(np.arange(num_chips), num_tasks)
  covered = []
  for _ in range(20_000):
    shared = np.repeat(rng.normal(size=num_chips), num_tasks)
    found = intervals.of_chips(
        shared + 0.5 * rng.normal(size=len(chips)), chips)
    covered.append(abs(found['mean']) < found['ci95'])
  assert abs(np.mean(covered) - 0.95) < 0.01


def test_a_single_chip_has_no_interval():
  found = intervals.of_chips(np.array([1.0, 3.0]), np.zeros(2))
  assert found == {'mean': 2.0, 'ci95': None}
