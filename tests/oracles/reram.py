"""Oracle of the ReRAM device, in NumPy, number by number.

The constants are written here a second time on purpose: a number that changes
in `devices/reram.py` must fail a test. Their source is physics.md, section 6.
"""

import numpy as np

G_MIN, G_MAX = 0.0, 40.0  # uS
REF = 15.0  # uS, where the weight of the preset is 0: 20 uS a unit
STEP = 0.04  # uS: 0.002 of the preset
CYCLE_STD, WRITE_STD = 3.75, 56.0  # steps
STEP_STD, IMBALANCE_STD, HIGH_STD, LOW_STD = 0.3, 0.01, 0.24, 0.4
NEAREST = 0.1  # a bound's least distance from ref, of the mean one
RESET_STD = 0.2  # uS
POLYNOMIALS = {  # age in s: uS at 40 uS, of r^0 to r^4
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934)}


def train(g, low, high, up, down, signs, normals, *, noise=1.0, ref=REF):
  """Returns the conductance of one device after each pulse.

  Args:
    g: conductance before, uS.
    low: lower bound, uS.
    high: upper bound, uS.
    up: step up at ref, uS.
    down: step down at ref, uS.
    signs: +1 or -1 for each pulse.
    normals: a standard normal draw for each pulse.
    noise: scale of the std.
    ref: conductance of the nominal step, uS.

  Returns:
    A list, one number for each pulse.
  """
  path = []
  for sign, normal in zip(signs, normals):
    if sign > 0:
      g += up * ((high - g) / (high - ref) + noise * CYCLE_STD * normal)
    else:
      share = (g - low) / (ref - low)
      g += down * (-share + noise * CYCLE_STD * normal)
    g = min(max(g, low), high)
    path.append(g)
  return path


def std(g, age, g_max=G_MAX):
  """Returns the std around the target at one of the three ages, uS."""
  r = min(max(g / g_max, 0.0), 1.0)
  powers = [c * r**k for k, c in enumerate(POLYNOMIALS[age])]
  return sum(powers) * g_max / 40.0


def relaxation(g, age, g_max=G_MAX):
  """Returns the standard deviation that an age adds to that at 1 s, uS."""
  start, day, two = (std(g, t, g_max) ** 2 for t in POLYNOMIALS)
  first = max(day - start, 0.0)
  second = max(two - start, 0.0)
  variance = np.interp(
      np.log(max(age, 1e-9)), np.log([1.0, 86400.0, 172800.0]),
      [0.0, first, second])
  return np.sqrt(variance)


def distances(normals, std):
  """Returns the distances of bounds from ref, relative to the mean one."""
  return np.maximum(np.abs(1 + std * normals), NEAREST)


def population(rng, size, sign, num_pulses, start=REF):
  """Returns the conductances of devices after a long train of one sign.

  The loop of aihwkit's SoftBoundsReference device, every device with bounds and
  steps of its own, in uS: 20 uS a unit of weight, its weight 0 at REF.
  """
  draw = lambda: rng.normal(size=size)
  low = REF - (REF - G_MIN) * distances(draw(), LOW_STD)
  high = REF + (G_MAX - REF) * distances(draw(), HIGH_STD)
  gain, imbalance = 1 + STEP_STD * draw(), IMBALANCE_STD * draw()
  up, down = (STEP * np.abs(gain + s * imbalance) for s in (1, -1))
  g = np.full(size, start)
  for _ in range(num_pulses):
    if sign > 0:
      g = g + up * ((high - g) / (high - REF) + CYCLE_STD * draw())
    else:
      g = g - down * ((g - low) / (REF - low) + CYCLE_STD * draw())
    g = np.clip(g, low, high)
  return g


ES = {'a': -0.5, 'b': -0.5, 'gamma_up': 5.0, 'gamma_down': 5.0,
      'a_up': -1.18445, 'a_down': -0.081404, 'step': 0.00135,
      'down_share': 1 - 0.259359}


def exponential_train(w, signs, *, low=-1.0, high=1.0, es=None):
  """Returns the mean weight after each pulse of the exponential-step law."""
  es, path = es or ES, []
  for sign in signs:
    z = 2 * es['a'] * w / (high - low) + es['b']
    if sign > 0:
      w += es['step'] * max(1 - es['a_up'] * np.exp(es['gamma_up'] * z), 0)
    else:
      size = es['step'] * es['down_share']
      w -= size * max(1 - es['a_down'] * np.exp(-es['gamma_down'] * z), 0)
    w = min(max(w, low), high)
    path.append(w)
  return path
