"""Meta-training: the noise of its steps."""

import numpy as np
import pytest

from meta_analog.training import meta_training


@pytest.mark.parametrize('step, expected', [
    (0, 0.0), (20, 0.0), (30, 0.25), (40, 0.5), (60, 1.0), (99, 1.0)])
def test_noise_rises_from_none_to_full_between_two_shares_of_the_steps(
    step, expected):
  found = meta_training.noise_scale(step, 100, start=0.2, full=0.6)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('step, expected', [(49, 0.0), (51, 1.0)])
def test_noise_whose_two_shares_are_equal_jumps(step, expected):
  assert meta_training.noise_scale(step, 100, 0.5, 0.5) == expected
