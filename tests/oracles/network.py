"""NumPy oracles of the network: loops that a student could check by hand.

Everything is float64 and written without any function of the package.

Axes: T time step, N sample, I in, O out, H neuron, F feature, L level,
P polarity, D device.
"""

import itertools

import numpy as np


def lif_spikes(currents, decay, threshold, reset='soft'):
  """Returns spikes [T, ...] and the smallest |v - v_th| that was met.

  Where that margin is above the rounding error of float32, a float32
  implementation must spike in exactly the same places.
  """
  currents = np.asarray(currents, np.float64)
  v = np.zeros(currents.shape[1:])
  z = np.zeros(currents.shape[1:])
  spikes, margin = [], np.inf
  for current in currents:
    if reset == 'hard':
      v = np.where(z > 0, 0.0, v)
    v = decay * v + (1.0 - decay) * current
    if reset == 'soft':
      v = v - threshold * z
    z = (v > threshold).astype(np.float64)
    margin = min(margin, np.min(np.abs(v - threshold)))
    spikes.append(z)
  return np.stack(spikes), margin


def leaky_integrate(currents, decay):
  """Returns y_t = k y_{t-1} + (1 - k) i_t, started at 0."""
  y, outputs = np.zeros(np.shape(currents)[1:]), []
  for current in np.asarray(currents, np.float64):
    y = decay * y + (1.0 - decay) * current
    outputs.append(y)
  return np.stack(outputs)


def network(weights, inputs, decay, threshold, readout_decay, num_steps, start):
  """Returns (outputs [N, O], trace [T, N, O], rates, margin) of a whole net.

  All layers advance together, one time step after the other; the last row of
  each weight matrix is the bias; the output is the mean of the leaky trace
  over the steps start .. T - 1; rates are spikes per neuron and step.
  """
  weights = [np.asarray(w, np.float64) for w in weights]
  inputs = np.asarray(inputs, np.float64)
  num_samples = len(inputs)
  v = [np.zeros((num_samples, w.shape[1])) for w in weights[:-1]]
  z = [np.zeros((num_samples, w.shape[1])) for w in weights[:-1]]
  y = np.zeros((num_samples, weights[-1].shape[1]))
  trace, margin, counts = [], np.inf, [0.0 for _ in v]
  for _ in range(num_steps):
    activity = inputs
    for i, w in enumerate(weights[:-1]):
      current = activity @ w[:-1] + w[-1]
      v[i] = decay * v[i] + (1.0 - decay) * current - threshold * z[i]
      z[i] = (v[i] > threshold).astype(np.float64)
      margin = min(margin, np.min(np.abs(v[i] - threshold)))
      counts[i] = counts[i] + z[i].mean(axis=0) / num_steps
      activity = z[i]
    current = activity @ weights[-1][:-1] + weights[-1][-1]
    y = readout_decay * y + (1.0 - readout_decay) * current
    trace.append(y)
  trace = np.stack(trace)
  return trace[start:].mean(axis=0), trace, counts, margin


def delta_rule(features, error, rate, num_steps):
  """Returns the change after gradient steps, sample by sample."""
  num_samples, num_features = features.shape
  change = np.zeros((num_features, error.shape[1]))
  for _ in range(num_steps):
    step = np.zeros_like(change)
    for n in range(num_samples):
      residual = error[n] - features[n] @ change
      step += np.outer(features[n], residual) / num_samples
    change = change + rate * step
  return change


def ridge(features, error, penalty):
  """Returns the solution of the F x F normal equations."""
  num_samples, num_features = features.shape
  normal = features.T @ features
  normal = normal + num_samples * penalty * np.eye(num_features)
  return np.linalg.solve(normal, features.T @ error)


def level_objective(features, error, levels, index, penalty):
  """Returns |e - f dW|^2 / N + cost of the chosen levels, for each output.

  A scalar penalty costs penalty dW^2; an array [L, F, O] is the cost itself.
  """
  chosen = np.take_along_axis(levels, index[None], axis=0)[0]
  cost = penalty * levels ** 2 if np.ndim(penalty) == 0 else penalty
  cost = np.take_along_axis(cost, index[None], axis=0)[0]
  residual = error - features @ chosen
  return np.mean(residual ** 2, axis=0) + np.sum(cost, axis=0)


def best_levels(features, error, levels, penalty):
  """Returns the smallest objective of all choices, for each output."""
  num_levels, num_features, num_outputs = levels.shape
  best = np.full(num_outputs, np.inf)
  for choice in itertools.product(range(num_levels), repeat=num_features):
    index = np.tile(np.array(choice)[:, None], (1, num_outputs))
    best = np.minimum(
        best, level_objective(features, error, levels, index, penalty))
  return best


def weights_of_pairs(g_uS, gain_per_uS):
  """Returns gain (sum_d G+ - sum_d G-), device by device."""
  weights = np.zeros(g_uS.shape[2:])
  for d in range(g_uS.shape[1]):
    weights = weights + gain_per_uS * (g_uS[0, d] - g_uS[1, d])
  return weights


def pcm_mean_pulses(params, g_uS, memory, num_pulses):
  """Returns the conductance of one device after n mean SET pulses."""
  for _ in range(num_pulses):
    memory = memory * np.exp(-1.0 / params.memory_pulses)
    g_uS = g_uS + params.m1 * g_uS + params.c1_uS + params.a1_uS * memory
    g_uS = min(max(g_uS, params.g_min_uS), params.g_max_uS)
  return g_uS
