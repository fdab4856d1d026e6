"""NumPy oracles of pulse selection: loops that a student could check."""

import numpy as np


def deal(events, num_devices):
  """Returns (counts [P, D, I, O], turns [P, I, O]) after signed events.

  Pulse by pulse: the device whose turn it is gets it, the turn passes on.
  """
  shape = np.shape(events)[1:]
  counts = np.zeros((2, num_devices) + shape)
  turn = np.zeros((2,) + shape, int)
  for n in np.asarray(events):
    for i, o in np.ndindex(shape):
      polarity = 0 if n[i, o] > 0 else 1
      for _ in range(int(abs(n[i, o]))):
        counts[polarity, turn[polarity, i, o], i, o] += 1
        turn[polarity, i, o] = (turn[polarity, i, o] + 1) % num_devices
  return counts, turn
