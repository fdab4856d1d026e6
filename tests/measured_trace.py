"""Laws of ReRAM pulses against a measured trace: residuals of both.

    python tests/measured_trace.py        of META_ANALOG_DATA or ../shared/data

The trace is one device of Gong et al., 2018 (doi:10.1038/s41467-018-04485-1):
1,000 reads after pulses up and 1,000 after pulses down, in weights, as aihwkit
gives it (measured/gong_et_al.csv). A residual is that of the mean of 50 reads,
of which the read and write noise is 0.02. The walk of the pulses themselves is
not averaged: how far a law's own devices are from its mean is printed beside.
"""

import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from meta_analog.devices import reram
from meta_analog.devices import reram_es

NUM_PULSES, WINDOW, NUM_DEVICES = 1000, 50, 500
UNIT_uS = 20.0  # one unit of weight
# Law: its family, its parameters, conductance of the weight 0.
LAWS = {'soft bounds': (reram, reram.ReRamParams(), 15.0),
        'exponential steps': (reram_es, reram_es.ReRamESParams(), 20.0)}
# Start of a fit and its bounds: of steps, window and shape, then both starts.
FITS = {
    'soft bounds': (
        {'up': (0.002, 0, 1), 'down': (0.002, 0, 1), 'low': (-1, -9, -0.3),
         'high': (1.5, 0.5, 9)}),
    'exponential steps': (
        {'step': (0.00135, 1e-5, 0.02), 'down_share': (0.74, 0.05, 2),
         'gamma_up': (5, 0.1, 20), 'gamma_down': (5, 0.1, 20),
         'a_up': (-1.18, -50, 0.99), 'a_down': (-0.081, -50, 0.99)})}
STARTS = ((-0.9, -2, 0), (0.8, 0, 2))


def trace():
  """Returns the weights [2, N] after pulses up and down; None without them."""
  shared = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
  folders = [pathlib.Path(p) for p in (
      os.environ.get('META_ANALOG_DATA'), shared) if p]
  for folder in folders:
    path = folder / 'measured' / 'gong_et_al.csv'
    if path.exists():
      return np.genfromtxt(path, delimiter=',').T
  return None


def windows(weights):
  """Returns the means of WINDOW reads along the last axis."""
  return weights.reshape(*weights.shape[:-1], -1, WINDOW).mean(axis=-1)


def simulated(law, weight, sign, noise_scale):
  """Returns weights [devices, N] read after each pulse, by the device itself.

  Devices are alike; noise from cycle to cycle and of writes stays.
  """
  g_uS = _simulation(law, noise_scale)(weight, sign)
  ref_uS = LAWS[law][2]
  return (np.asarray(g_uS, np.float64).T - ref_uS) / UNIT_uS


@functools.cache
def _simulation(law, noise_scale):
  """Returns a compiled function of weight and sign: reads [N, devices], uS."""
  family, params, ref_uS = LAWS[law]
  params = params._replace(
      noise_scale=noise_scale, program_scale=0.0, step_std=0.0, high_std=0.0,
      low_std=0.0, imbalance_std=0.0)
  device = family.make(params, max_pulses=1)
  size = NUM_DEVICES if noise_scale else 1

  @jax.jit
  def run(weight, sign):
    def body(state, i):
      state = device.pulse(jax.random.fold_in(jax.random.key(1), i), state,
                           jnp.full(size, sign))
      return state, state.g_uS + state.write_uS

    start = device.program(
        jax.random.key(0), jnp.full(size, ref_uS + UNIT_uS * weight))
    return jax.lax.scan(body, start, jnp.arange(NUM_PULSES))[1]

  return run


def of_preset(law, measured):
  """Returns residuals [2, windows] and [2, devices, windows] of the preset.

  Of the trace from the law's mean, which starts at the first ten reads, and of
  the law's own devices from that mean.
  """
  residuals, own = [], []
  for weights, sign in zip(measured, (1.0, -1.0)):
    start = weights[:10].mean()
    mean = windows(simulated(law, start, sign, 0.0)[0])
    residuals.append(windows(weights) - mean)
    own.append(windows(simulated(law, start, sign, 1.0)) - mean)
  return np.array(residuals), np.array(own)


def soft_bounds_train(weight, sign, up, down, low, high):
  """Returns the weights after each pulse, in closed form."""
  bound, share = (high, up / high) if sign > 0 else (low, -down / low)
  return bound - (bound - weight) * (1 - share) ** np.arange(1, NUM_PULSES + 1)


def exponential_train(weight, sign, step, down_share, **shape):
  """Returns the weights after each pulse."""
  a, gamma = (shape[f'{name}_{"up" if sign > 0 else "down"}']
              for name in ('a', 'gamma'))
  size, path = step * (1.0 if sign > 0 else down_share), []
  for _ in range(NUM_PULSES):
    growth = np.exp(sign * gamma * (-0.5 * weight - 0.5))
    weight += sign * size * max(1 - a * growth, 0)
    path.append(weight)
  return np.array(path)


def of_fit(law, measured):
  """Returns residuals [2, windows] of the law fitted to both directions."""
  train = soft_bounds_train if law == 'soft bounds' else exponential_train
  start, low, high = zip(*FITS[law].values(), *STARTS)

  def residuals(values):
    law_values = dict(zip(FITS[law], values))
    return np.concatenate([
        windows(weights) - windows(train(first, sign, **law_values))
        for weights, sign, first in zip(measured, (1, -1), values[-2:])])

  fit = optimize.least_squares(residuals, start, bounds=(low, high),
                               x_scale='jac')
  return fit.fun.reshape(2, -1)


def rms(x, axis=None):
  return np.sqrt(np.mean(np.square(x), axis=axis))


def main():
  measured = trace()
  if measured is None:
    raise SystemExit('measured/gong_et_al.csv: not in META_ANALOG_DATA')
  print('| law | rms up | rms down | largest | rms of its own devices, 95 % |')
  print('| --- | --- | --- | --- | --- |')
  for law in LAWS:
    residuals, own = of_preset(law, measured)
    below = np.quantile(rms(own, axis=-1), 0.95, axis=-1)
    up, down = rms(residuals, axis=-1)
    print(f'| {law}, preset | {up:.3f} | {down:.3f} | '
          f'{np.max(np.abs(residuals)):.2f} | '
          f'below {below[0]:.2f} up, {below[1]:.2f} down |')
  for law in LAWS:
    residuals = of_fit(law, measured)
    up, down = rms(residuals, axis=-1)
    print(f'| {law}, fitted | {up:.3f} | {down:.3f} | '
          f'{np.max(np.abs(residuals)):.2f} | |')


if __name__ == '__main__':
  main()
