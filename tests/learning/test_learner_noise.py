"""Draws of the analog spiking network: independent of each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meta_analog.core import currents as currents_lib
from meta_analog.crossbar import array
from meta_analog.networks import lif
from tests.helpers import small_learner
from tests.helpers import small_networks as small

T_READ_S = small_learner.T_READ_S


@pytest.fixture
def wide_forward(monkeypatch):
  """Returns a function to (hidden currents, readings, exact weights).

  The layers have 32 neurons and every spike is replaced by 1, so that all
  layers see the same inputs at every step and only the noise differs.
  """
  def present(fresh_share):
    seen, readings, read = [], [], array.read

    def activity(source, neuron, weights):
      seen.append(currents_lib.currents(source))
      return jax.tree.map(
          jnp.ones_like, lif.activity(source, neuron, weights))

    def recording_read(*args):
      readings.append(read(*args))
      return readings[-1]

    network = small.network(
        (1, 1, 1), fresh_share=fresh_share, activity_fn=activity)
    device = small.pcm_pair(small.pcm.PCMParams(m3=0.0))[0]
    learner = small.make((device, device), network)
    monkeypatch.setattr(array, 'read', recording_read)

    @jax.jit
    def run(theta):
      state = learner.init(jax.random.key(0), theta)
      learner.predict(jax.random.key(1), state, jnp.ones((4, 32)), T_READ_S)
      exact = [read(jax.random.key(0), device, crossbar, T_READ_S, 1.0).weights
               for crossbar in state.chip.crossbars]
      return seen, [reading.weights for reading in readings[-3:]], exact

    return jax.tree.map(np.asarray, run(small.theta(sizes=(32, 32, 32, 32))))

  return present


def assert_uncorrelated(rows):
  """Fails if two of the rows [R, n] correlate by more than 6 SE."""
  rows = np.asarray(rows)
  r = np.corrcoef(rows) - np.eye(len(rows))
  assert np.all(rows.std(axis=1) > 0)
  assert np.max(np.abs(r)) < 6.0 / np.sqrt(rows.shape[1])


def test_frozen_reads_of_layers_are_independent(wide_forward):
  _, readings, exact = wide_forward(0.0)
  noise = [np.ravel(r - w) for r, w in zip(readings, exact, strict=True)]
  # The hidden arrays and the output array: 32 x 33 weights each.
  assert_uncorrelated([row[:32 * 32] for row in noise])


def test_fresh_noise_of_layers_steps_and_samples_is_independent(
    wide_forward):
  currents, _, _ = wide_forward(1.0)
  first, second = (c - c.mean(axis=0, keepdims=True) for c in currents)
  assert_uncorrelated([first.ravel(), second.ravel()])
  for layer in (first, second):
    assert_uncorrelated([layer[:, n].ravel() for n in range(4)])
    assert_uncorrelated([layer[t].ravel() for t in range(small.NUM_STEPS)])


def test_programming_errors_of_layers_are_independent():
  learner = small.make(small.pcm_pair(), small.network((1, 1, 1)))
  init = jax.jit(learner.init)
  theta = small.theta(sizes=(32, 32, 32, 32))
  theta = theta._replace(layers=tuple(
      layer._replace(u=jnp.full_like(layer.u, 0.5)) for layer in theta.layers))
  errors = []
  for seed in (0, 1):  # two chips
    state = init(jax.random.key(seed), theta)
    errors += [np.ravel(c.devices.g_uS[0] - c.estimate.g_uS[0])
               for c in state.chip.crossbars]
  assert_uncorrelated(errors)
