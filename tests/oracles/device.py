"""Oracles of the devices: NumPy loops that a student can check by hand.

The constants are written here a second time on purpose: a number that changes
in `devices/pcm.py` must fail a test. Their source is physics.md, section 1.2
(Nandakumar et al., 2018) and section 9 (Joshi et al., 2020, at 25 uS).
"""

import os
import pathlib

import numpy as np
from scipy import special

M1, C1, A1 = -0.084, 0.880, 1.40  # mean step: -, uS, uS
M2, C2, A2 = 0.091, 0.260, 2.15  # standard deviation of the step: -, uS, uS
MEMORY_PULSES = 2.6
M3, C3 = 0.03, 0.13  # standard deviation of a read: -, uS
T0_S = 38.6
NU_MEAN, NU_STD = 0.04, 0.01
G_RESET, RESET_STD = 0.1, 0.1  # uS, relative
G_MIN, G_MAX, G_RESET_MIN = 0.1, 12.0, 0.01  # uS
P0, P1, P2 = 0.26348, 0.0786, -0.001877  # programming, uS
MIN_AGE_S = 1e-3


def set_train(
    g_uS, memory, normals, *, noise=1.0, step=1.0, g_min=G_MIN, g_max=G_MAX,
    decay_first=True
):
  """Returns (conductance, memory) of one device after each pulse of a train.

  Args:
    g_uS: conductance before the train, a number.
    memory: pulse memory before the train, a number.
    normals: one standard normal draw for each pulse.
    noise: scale of the std.
    step: relative step size of this device.
    g_min: lower bound, uS.
    g_max: upper bound, uS.
    decay_first: False is the wrong order, for column D of table 8.1.

  Returns:
    Two lists, one number for each pulse.
  """
  conductances, memories = [], []
  for normal in normals:
    if decay_first:
      memory = memory * np.exp(-1 / MEMORY_PULSES)
    mean = step * (M1 * g_uS + C1 + A1 * memory)
    sigma = noise * (M2 * g_uS + C2 + A2 * memory)
    g_uS = min(max(g_uS + mean + sigma * normal, g_min), g_max)
    if not decay_first:
      memory = memory * np.exp(-1 / MEMORY_PULSES)
    conductances.append(g_uS)
    memories.append(memory)
  return conductances, memories


def unclipped_moments(num_pulses):
  """Returns the exact (mean, std) after 1..num_pulses SETs without bounds.

  m <- (1 + m1) m + c1 + A1 P
  V <- (1 + m1)^2 V + E[(m2 G + b)^2],   b = c2 + A2 P,   from G = 0.1 uS
  """
  mean, variance, rows = G_RESET, 0.0, []
  for n in range(1, num_pulses + 1):
    memory = np.exp(-n / MEMORY_PULSES)
    b = C2 + A2 * memory
    noise = M2**2 * (variance + mean**2) + 2 * M2 * b * mean + b**2
    variance = (1 + M1) ** 2 * variance + noise
    mean = (1 + M1) * mean + C1 + A1 * memory
    rows.append((mean, np.sqrt(variance)))
  return np.array(rows)


def clipped_moments(num_pulses, g_max, *, decay_first=True, num_cells=1200):
  """Returns the exact (mean, std) after 1..num_pulses SETs within the bounds.

  The distribution is carried from pulse to pulse on a grid of cells, with a
  point mass at each bound: no random number is drawn. From G = 0.1 uS.
  """
  edges = np.linspace(G_MIN, g_max, num_cells + 1)
  centres = 0.5 * (edges[1:] + edges[:-1])
  points = np.concatenate([[G_MIN], centres, [g_max]])
  weight = np.zeros(num_cells + 2)
  weight[0] = 1.0
  rows = []
  for n in range(1, num_pulses + 1):
    memory = np.exp(-(n if decay_first else n - 1) / MEMORY_PULSES)
    mean = points + M1 * points + C1 + A1 * memory
    sigma = M2 * points + C2 + A2 * memory
    below = special.ndtr((edges[:, None] - mean) / sigma)  # P(G' < edge)
    move = np.concatenate([below[:1], np.diff(below, axis=0), 1 - below[-1:]])
    weight = move @ weight
    first = weight @ points
    rows.append((first, np.sqrt(weight @ (points - first) ** 2)))
  return np.array(rows)


def drift(g_uS, nu, age_s):
  """Returns the conductance at an age; ages under 1 ms count as 1 ms."""
  return g_uS * (max(age_s, MIN_AGE_S) / T0_S) ** -nu


def read_sigma(g_uS):
  """Returns the standard deviation of a read at a drifted conductance."""
  return M3 * g_uS + C3


def program_sigma(g_uS):
  """Returns the standard deviation of programming to a target."""
  return P0 + P1 * g_uS + P2 * g_uS**2


def pulse_level(x, response, threshold):
  """Returns the number of pulses whose response is nearest, edge by edge."""
  first = threshold * response[1]
  level = 0
  for k in range(1, len(response)):
    middle = 0.5 * (response[k - 1] + response[k])
    edge = first if k == 1 else max(middle, first)
    if x > edge:
      level = k
  return level


def assert_moments(sample, mean, std, *, errors=6.0):
  """Asserts mean and std of a sample within some standard errors.

  The error of the std uses the kurtosis: clipped noise is not Gaussian.
  """
  sample = np.asarray(sample, np.float64).ravel()
  centred = sample - sample.mean()
  spread = sample.std()
  kurtosis = np.mean(centred**4) / spread**4
  error_mean = spread / np.sqrt(sample.size)
  error_std = spread * np.sqrt((kurtosis - 1) / (4 * sample.size))
  assert abs(sample.mean() - mean) < errors * error_mean, (sample.mean(), mean)
  assert abs(spread - std) < errors * error_std, (spread, std)


def assert_uncorrelated(a, b, *, errors=6.0):
  """Asserts that the correlation of two samples is 0 within its error."""
  a, b = np.ravel(a), np.ravel(b)
  assert a.std() > 0 and b.std() > 0
  assert abs(np.corrcoef(a, b)[0, 1]) < errors / np.sqrt(a.size)


def reference_table(name):
  """Returns a table of the shared reference folder, or None without one."""
  shared = pathlib.Path(__file__).resolve().parents[3] / 'shared'
  folders = [shared / 'reference']
  if os.environ.get('META_ANALOG_DATA'):
    data = pathlib.Path(os.environ['META_ANALOG_DATA'])
    folders.insert(0, data.parent / 'reference')
  for folder in folders:
    if (folder / name).exists():
      return np.genfromtxt(folder / name, delimiter=',', names=True)
  return None
