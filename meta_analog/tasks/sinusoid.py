"""Sinusoid regression, y = A sin(x + phi).

A ~ U(0.1, 5), phi ~ U(0, pi), x ~ U(-5, 5). Source: Finn, Abbeel & Levine, 2017
(arXiv:1703.03400), with the phase range of its published code.

Axes: B task, N sample.
"""

import math
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import linalg
from meta_analog.core import types

RANGES = {
    'support_size': (1, 10**6, True),
    'query_size': (1, 10**6, True),
    'amplitude_min': (0, math.inf, True),
    'amplitude_max': (0, math.inf, False),
    'phase_max': (0, math.inf, False),
    'x_max': (0, math.inf, False),
}


class SinusoidParams(NamedTuple):
  """Ranges of the task family."""

  amplitude_min: jax.Array | float = 0.1
  amplitude_max: jax.Array | float = 5.0
  phase_max: jax.Array | float = jnp.pi
  x_max: jax.Array | float = 5.0


class Sinusoid(NamedTuple):
  """One task."""

  amplitude: jax.Array  # scalar
  phase: jax.Array  # scalar


def value(sinusoid: Sinusoid, x: jax.Array) -> jax.Array:
  """Returns A sin(x + phi)."""
  return sinusoid.amplitude * jnp.sin(x + sinusoid.phase)


def prior_mean(params: SinusoidParams, x: jax.Array) -> jax.Array:
  """Returns E[y | x] over the family, the best prediction without adaptation.

      E[A] (cos x - cos(x + phase_max)) / phase_max

  which is 1.62 cos x for the default ranges.

  Args:
    params: ranges.
    x: any shape.

  Returns:
    Same shape.
  """
  mean = 0.5 * (params.amplitude_min + params.amplitude_max)
  return mean * (jnp.cos(x) - jnp.cos(x + params.phase_max)) / params.phase_max


def make(
    params: SinusoidParams = SinusoidParams(),
    *,
    support_size: int = 20,
    query_size: int = 20,
) -> types.Task:
  """Returns the task family.

  Inputs are x / x_max, so they lie in [-1, 1].

  Args:
    params: ranges.
    support_size: K, samples in the support set.
    query_size: samples in the query set.

  Returns:
    A `types.Task` with one input and one output.
  """
  def samples(key, sinusoid, size):
    x = jax.random.uniform(
        key, (size, 1), jnp.float32, minval=-params.x_max, maxval=params.x_max)
    return types.Samples(x=x / params.x_max, y=value(sinusoid, x))

  def sample(key, data=(), split='train'):
    del data, split  # Of a continuum no task is met twice.
    key_amplitude, key_phase, key_support, key_query = jax.random.split(key, 4)
    sinusoid = Sinusoid(
        amplitude=jax.random.uniform(
            key_amplitude, dtype=jnp.float32, minval=params.amplitude_min,
            maxval=params.amplitude_max),
        phase=jax.random.uniform(
            key_phase, dtype=jnp.float32, maxval=params.phase_max))
    return types.Episode(
        support=samples(key_support, sinusoid, support_size),
        query=samples(key_query, sinusoid, query_size), latent=sinusoid)

  def baselines(episodes):
    mean = prior_mean(params, params.x_max * episodes.query.x)
    error = jnp.mean(jnp.square(mean - episodes.query.y), axis=(1, 2))
    return {'predict_mean': error,
            'best_linear_step': best_linear_step(params, episodes)}

  def dense(episode):
    x = jnp.linspace(-1.0, 1.0, 101, dtype=jnp.float32)[:, None]
    y = value(episode.latent, params.x_max * x)
    return episode._replace(query=types.Samples(x, y))

  return types.Task(1, 1, 'mse', sample, baselines, dense)


def check(settings: dict[str, Any]) -> None:
  """Raises ValueError if the amplitudes are out of order.

  Args:
    settings: the fields of RANGES.
  """
  low, high = settings['amplitude_min'], settings['amplitude_max']
  if low > high:
    raise ValueError(f'config.task.amplitude_min = {low}: must not exceed '
                     f'task.amplitude_max ({high})')


def from_settings(settings: dict[str, Any]) -> types.Task:
  """Returns the task family of checked settings, the fields of RANGES."""
  sizes = {k: settings[k] for k in ('support_size', 'query_size')}
  ranges = {k: settings[k] for k in SinusoidParams._fields}
  return make(SinusoidParams(**ranges), **sizes)


def best_linear_step(
    params: SinusoidParams, episodes: types.Episode
) -> jax.Array:
  """Returns the query loss of the best single batch step on perfect features.

  y is linear in (sin x, cos x), so a last layer over these two features could
  be exact. One batch gradient step from a common start w moves the weights by
  M f^T (y - f w) / N, with one matrix M for all tasks (a step size, or any
  linear preconditioner). M and w are fitted here to these very tasks,
  alternately, each by least squares, so a rule of this kind hardly does better
  on them.

  Args:
    params: ranges.
    episodes: arrays with a leading axis B.

  Returns:
    [B], mean squared error on each query set.
  """
  def features(x):
    x = params.x_max * x
    return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1)  # [B, N, 2]

  support, query = features(episodes.support.x), features(episodes.query.x)
  num_samples = support.shape[1]
  gram = linalg.einsum('bni,bnj->bij', support, support) / num_samples
  moment = linalg.einsum(
      'bni,bnj->bi', support, episodes.support.y) / num_samples
  target = episodes.query.y[..., 0]  # [B, N]

  def solve(rows, target):
    rows = rows.reshape(target.size, -1)
    # Of one task, or of single samples, many solutions are best: the smallest.
    return jnp.linalg.lstsq(
        linalg.matmul(rows.T, rows), linalg.matmul(rows.T, target.ravel()))[0]

  def predict(w, matrix):
    moved = w[None] + linalg.matmul(
        moment - linalg.matmul(gram, w), matrix.T)  # [B, 2]
    return linalg.einsum('bni,bi->bn', query, moved)

  def fit_step(w):
    left = moment - linalg.matmul(gram, w)
    rows = linalg.einsum('bni,bj->bnij', query, left)
    return solve(rows, target - linalg.matmul(query, w)).reshape(2, 2)

  def fit_start(matrix):
    rest = linalg.einsum('bni,bi->bn', query, linalg.matmul(moment, matrix.T))
    rows = query - linalg.einsum('bni,ij,bjk->bnk', query, matrix, gram)
    return solve(rows, target - rest)

  w = jax.lax.fori_loop(0, 20, lambda _, w: fit_start(fit_step(w)),
                        jnp.zeros(2, jnp.float32))
  matrix = fit_step(w)
  return jnp.mean(jnp.square(predict(w, matrix) - target), axis=1)
