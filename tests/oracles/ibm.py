"""IBM's statistical models as plain NumPy, one number at a time.

The constants are written here a second time on purpose: a number that changes
in `devices/` must fail a test. Their source is physics.md, section 3 (aihwkit
1.1.0); for pulses and RESET, section 1.2, see `oracles_device`.
"""

import math

import numpy as np

from tests.oracles import device as oracle

MIN_AGE_S = 1e-3
SET_RANGE_US = 12.0  # of the cell whose SET law is scaled


def pcm_like_program_sigma(g_uS, g_max=25.0):
  """Returns the std of programming, uS, in powers of g at 25 uS."""
  g_25 = g_uS * 25.0 / g_max
  return (0.26348 + 0.0786 * g_25 - 0.00187696 * g_25**2) * g_max / 25.0


def pcm_like_nu(r):
  """Returns mean and standard deviation of the drift exponent."""
  log = math.log(max(r, 1e-7))
  return (min(max(-0.0155 * log + 0.0244, 0.049), 0.1),
          min(max(-0.0125 * log - 0.0059, 0.008), 0.045))


def pcm_like_q(r):
  """Returns the level of the 1/f noise."""
  return min(0.0088 / max(r**0.65, 1e-3), 0.2)


def hermes_program_sigma(g_uS, num_devices=1):
  """Returns the standard deviation of programming, uS."""
  if num_devices == 1:
    r = g_uS / 10.35
    return (0.15781817 + 2.32443916 * r - 2.16310839 * r**2
            + 0.68841818 * r**3)
  r = g_uS / 20.7
  return 0.16603222 + 4.71806468 * r - 8.48101252 * r**2 + 4.68961419 * r**3


def hermes_nu(r, num_devices=1):
  """Returns mean and standard deviation of the drift exponent."""
  log = math.log(max(r, 1e-7))
  if r < 0.0945:
    mean = min(max(-0.0387 * log - 0.0182, 0.072), 0.13)
  else:
    mean = -0.0436 * r**2 - 0.0126 * r + 0.0736
  if num_devices == 1:
    if r < 0.3039:
      std = min(max(-0.0120 * log - 0.0023, 0.0124), 0.04)
    else:
      std = -0.0165 * r**2 + 0.0116 * r + 0.0104
  elif r < 0.3055:
    std = min(max(-0.0117 * log - 0.0057, 0.0091), 0.04)
  else:
    std = -0.0118 * r**2 + 0.0093 * r + 0.0073
  return mean, std


def hermes_q(r, num_devices=1):
  """Returns the level of the 1/f noise."""
  log = math.log(max(r, 1e-7))
  if num_devices == 1:
    if r < 0.1591:
      return min(max(-0.0078 * log + 0.0038, 0.0179), 0.04)
    return 0.0664 * r**3 - 0.1352 * r**2 + 0.0768 * r + 0.0088
  if r < 0.16:
    return min(max(-0.0117 * log - 0.0069, 0.015), 0.04)
  return 0.0069 * r**3 - 0.0280 * r**2 + 0.0211 * r + 0.0123


def drift(g_uS, nu, age_s, t0_s):
  """Returns the conductance an age after programming."""
  t_s = max(age_s, MIN_AGE_S) + t0_s
  return g_uS * (t_s / t0_s) ** -nu


def read_sigma(g_uS, q, age_s, t0_s, t_read_s):
  """Returns the standard deviation of a read of a drifted conductance."""
  t_s = max(age_s, MIN_AGE_S) + t0_s
  return g_uS * q * math.sqrt(math.log((t_s + t_read_s) / (2 * t_read_s)))


def set_train(g_uS, memory, num_pulses, g_max):
  """Returns the noise-free path of one device, scaled from the 12 uS cell."""
  scale = g_max / SET_RANGE_US
  path, memories = oracle.set_train(
      g_uS / scale, memory, np.zeros(num_pulses), g_min=0.0)
  return scale * np.array(path), np.array(memories)


def set_step(g_uS, memory, g_max):
  """Returns mean and std of one step, uS; memory after its decay."""
  scale = g_max / SET_RANGE_US
  g = g_uS / scale
  return (scale * (oracle.M1 * g + oracle.C1 + oracle.A1 * memory),
          scale * (oracle.M2 * g + oracle.C2 + oracle.A2 * memory))


def clipped_normal(mean, std):
  """Returns mean and std of max(0, N(mean, std^2)) and the share at 0."""
  a = mean / std
  density = math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
  above = 0.5 * math.erfc(-a / math.sqrt(2))
  first = mean * above + std * density
  second = (mean**2 + std**2) * above + mean * std * density
  return first, math.sqrt(second - first**2), 1 - above


def assert_like_table(sample, mean, std, *, digits, size=400_000, errors=5.0):
  """Asserts moments of a sample against a table made by sampling.

  The tolerance has the sampling error of both and half the last digit of the
  table.
  """
  sample = np.asarray(sample, np.float64).ravel()
  both = 1 / sample.size + 1 / size
  spread = sample.std()
  kurtosis = np.mean((sample - sample.mean()) ** 4) / max(spread, 1e-9) ** 4
  half = 0.5 * 10.0**-digits + 1e-9
  error_mean = spread * math.sqrt(both)
  error_std = spread * math.sqrt(max(kurtosis - 1, 0) * both / 4)
  if mean is not None:
    assert abs(sample.mean() - mean) < errors * error_mean + half, (
        sample.mean(), mean)
  assert abs(spread - std) < errors * error_std + half, (spread, std)
