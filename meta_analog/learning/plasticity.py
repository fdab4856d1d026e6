"""Delta rule, ridge regression and coordinate descent of the output layer.

The output layer is linear in its features, so the inner loop needs only the
features [N, F] and errors [N, O] of a support set. These algorithms run on them
in the digital periphery; the crossbar is written once, with the result.

Axes: N sample, F feature (bias included), O output, L level.
"""

import chex
import jax
import jax.numpy as jnp

from meta_analog.core import batching
from meta_analog.core import dtypes
from meta_analog.core import linalg


def delta_rule(
    features: jax.Array,
    error: jax.Array,
    rate: jax.Array,
    *,
    num_steps: int = 1,
) -> jax.Array:
  """Returns the weight change of batch gradient steps on the squared error.

      dW <- dW + rate * f^T (e - f dW) / N,   repeated num_steps times

  One step is the delta rule. Source: Widrow & Hoff, 1960, Adaptive switching
  circuits (doi:10.21236/AD0241531).

  Args:
    features: [N, F].
    error: [N, O], target minus output.
    rate: learning rate, scalar.
    num_steps: number of gradient steps.

  Returns:
    [F, O].
  """
  chex.assert_rank([features, error], 2)
  features, error, rate = dtypes.float32((features, error, rate))

  def body(delta_w, _):
    residual = error - linalg.matmul(features, delta_w)
    slope = linalg.matmul(rate * features.T, residual)
    return delta_w + slope / len(features), None

  start = jnp.zeros((features.shape[1], error.shape[1]), features.dtype)
  return jax.lax.scan(body, start, None, length=num_steps)[0]


def ridge(
    features: jax.Array, error: jax.Array, penalty: jax.Array
) -> jax.Array:
  """Returns the regularised least-squares weight change.

      dW = argmin |e - f dW|^2 / N + penalty |dW|^2
         = f^T (f f^T + N penalty I)^-1 e

  The N x N form is used: a support set has fewer samples than features.
  Source: Hoerl & Kennard, 1970 (doi:10.1080/00401706.1970.10488634); as an
  inner loop, Bertinetto et al., 2019 (arXiv:1805.08136).

  Args:
    features: [N, F].
    error: [N, O], target minus output.
    penalty: positive scalar.

  Returns:
    [F, O].
  """
  chex.assert_rank([features, error], 2)
  features, error, penalty = dtypes.float32((features, error, penalty))
  num_samples = features.shape[0]
  gram = linalg.matmul(features, features.T)
  gram = gram + num_samples * penalty * jnp.eye(
      num_samples, dtype=jnp.float32)
  return linalg.matmul(features.T, _solve(gram, error))


def _solve(gram, error):
  """Returns gram^-1 error of a positive definite matrix.

  Sequential on a CPU: the batched LAPACK of jaxlib 0.10 hands parts of a large
  batch to the threads that wait for it, and deadlocks when all of them wait
  (128 systems of 20 unknowns on 2 devices).
  """
  def one(unused, both):
    del unused
    return jax.scipy.linalg.solve(*both, assume_a='pos')

  if jax.default_backend() == 'cpu':
    one = batching.sequential(one)
  return one(jnp.int32(0), (gram, error))


def coordinate_descent(
    features: jax.Array,
    error: jax.Array,
    levels: jax.Array,
    start: jax.Array,
    penalty: jax.Array,
    *,
    num_sweeps: int = 2,
) -> jax.Array:
  """Returns the levels of a quantised regression, by coordinate descent.

  One weight at a time, in order, takes the level that minimises

      |e - f dW|^2 / N + penalty |dW|^2

  given all other weights, so that later weights compensate the rounding of
  earlier ones. No choice raises the objective.

  Args:
    features: [N, F].
    error: [N, O], target minus output.
    levels: [L, F, O], the available weight changes.
    start: [F, O], integer indices into levels.
    penalty: scalar, or the cost of each level, [L, F, O], in the place of
      penalty |dW|^2.
    num_sweeps: passes over all weights.

  Returns:
    [F, O], integer indices into levels. No gradient.
  """
  features, error, levels, penalty = jax.lax.stop_gradient(
      dtypes.float32((features, error, levels, penalty)))
  num_samples, num_features = features.shape
  cost = jnp.broadcast_to(penalty * (
      jnp.square(levels) if jnp.ndim(penalty) == 0 else 1.0), levels.shape)
  power = jnp.mean(jnp.square(features), axis=0)  # [F]
  take = lambda index: jnp.take_along_axis(levels, index[None], axis=0)[0]
  residual = error - linalg.matmul(features, take(start))

  def body(carry, i):
    index, residual = carry
    f, options = features[:, i], levels[:, i]  # [N], [L, O]
    now = jnp.take_along_axis(options, index[i][None], axis=0)[0]  # [O]
    slope = linalg.matmul(f, residual) / num_samples + power[i] * now
    objective = power[i] * jnp.square(options) - 2.0 * slope[None] * options
    best = jnp.argmin(objective + cost[:, i], axis=0)
    new = jnp.take_along_axis(options, best[None], axis=0)[0]
    residual = residual - f[:, None] * (new - now)[None]
    return (index.at[i].set(best.astype(index.dtype)), residual), None

  order = jnp.tile(jnp.arange(num_features), num_sweeps)
  return jax.lax.scan(body, (start, residual), order)[0][0]
