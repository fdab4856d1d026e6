"""Options of program-and-verify: what is refused."""

import numpy as np
import pytest

from meta_analog.devices import pcm
from meta_analog.programming import controller
from meta_analog.programming import verify_options
from tests.helpers import small_arrays

OPTIONS = small_arrays.OPTIONS
pair_of = small_arrays.pair_of


@pytest.mark.parametrize('field, value, words', [
    ('max_rounds', 0, 'at least 1'),
    ('max_pulses', 0, 'at least 1'),
    ('max_pulses', 2.5, 'whole number'),
    ('max_rounds', float('inf'), 'whole number'),
    ('max_resets', -1, 'at least 0'),
    ('num_reads', 0, 'at least 1'),
    ('tolerance_uS', 0.0, 'greater than 0'),
    ('tolerance_uS', float('nan'), 'greater than 0'),
    ('tolerance_uS', 0.05, 'standard deviation of the mean of num_reads = 16'),
    ('level_uS', -1.0, 'greater than 0'),
    ('overshoot_uS', 0.0, 'greater than 0'),
    ('delay_s', -1.0, 'at least 0'),
    ('delay_s', 2.0, 'until the date of the target'),
    ('delay_s', 1.95, 'until the date of the target'),  # with the reads
    ('read_span_s', -0.1, 'at least 0'),
    ('drift_correction', 1.1, 'at most 1'),
    ('fresh_share', 1.1, 'at most 1'),
])
def test_budgets_that_cannot_be_are_refused(field, value, words):
  verify_options.check(OPTIONS, 0.4, duration_s=200.0)
  with pytest.raises(ValueError, match=f'{field} = .*{words}'):
    verify_options.check(OPTIONS._replace(**{field: value}),
                         0.4,
                         duration_s=200.0)


def test_reads_that_share_all_their_noise_tell_no_more_than_one():
  # One read tells 0.4 uS apart, and OPTIONS's tolerance is 0.3.
  with pytest.raises(ValueError, match='tolerance_uS = 0.3: .*at least 0.4'):
    verify_options.check(OPTIONS._replace(fresh_share=0.0), 0.4)


def test_a_tolerance_below_half_a_step_to_and_fro_is_refused():
  verify_options.check(OPTIONS, 0.0, step_uS=0.59)
  with pytest.raises(ValueError, match='tolerance_uS = 0.3: .*half a step'):
    verify_options.check(OPTIONS, 0.0, step_uS=0.61)


def test_the_std_of_a_read_is_that_of_the_pair():
  # No draw decides: the errors of programming are as large as ever.
  sigma_uS = controller.read_sigma_uS(
      *pair_of(pcm.PCMParams(noise_scale=1.5)), 6.0, 0.1, 4, 38.6)
  np.testing.assert_allclose(
      sigma_uS, 3.0 * np.hypot(0.03 * 6.0 + 0.13, 0.03 * 0.1 + 0.13),
      rtol=1e-4)


def test_the_least_tolerance_is_the_std_of_one_check():
  # (1 - 0.65) + 0.65 / 16 of the variance of a read is left.
  least_uS = 0.4 * np.sqrt(0.35 + 0.65 / 16)
  verify_options.check(OPTIONS._replace(tolerance_uS=1.001 * least_uS), 0.4)
  with pytest.raises(ValueError, match='tolerance_uS'):
    verify_options.check(OPTIONS._replace(tolerance_uS=0.999 * least_uS), 0.4)
