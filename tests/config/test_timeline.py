"""Times of a deployment: what a config says of its writes."""

from configs import pcm
from meta_analog.config import timeline
from meta_analog.programming import verify_options


def test_a_verified_write_takes_as_long_as_its_options_allow():
  config = pcm.get_config()
  config.adapt.write = 'verified'
  longest_s = verify_options.longest_s(
      verify_options.VerifyOptions(**config.verification))
  assert timeline.make_times(config).write_duration_s == longest_s > 1.0


def test_a_train_of_blind_pulses_takes_no_time():
  assert timeline.make_times(pcm.get_config()).write_duration_s == 0.0
