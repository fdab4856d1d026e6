"""Fused time loop of a LIF layer with a hand-written backward pass.

The numbers are those of `lif.activity` with soft reset; once differentiable. On
a CPU a forward and backward pass is 2.4 times faster (2.8 with read noise):
input currents are computed inside the loop, in both passes, instead of stored;
sums of spikes over time are taken inside the loop; rows are plain slices under
`vmap`; the backward pass stores membrane potentials only. On an accelerator, 10
time steps are unrolled in each iteration, so that XLA joins them into a few
kernels: a training step takes 3.3 ms instead of 12.9 ms on one H100.

No shape is flattened: XLA would index each broadcast of a flat row by a
division (6 ms instead of 0.9 ms for the noise of one layer).

Axes: B batch of all vmaps, T time step, K weighted sum; `...` any.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import batching
from meta_analog.core import currents
from meta_analog.core import dtypes
from meta_analog.core import linalg
from meta_analog.networks import lif

UNROLL = 10  # time steps per iteration, on accelerators


class LoopSize(NamedTuple):
  """Length of a time loop, static."""

  num_steps: int  # T
  unroll: int  # time steps of an iteration, at most T


def activity(
    source: currents.Source,
    neuron: lif.Neuron,
    weights: jax.Array,
    *,
    surrogate: lif.Surrogate = lif.fast_sigmoid,
    unroll: int = 0,
) -> currents.Activity:
  """Returns the spikes of a layer that starts at rest, and sums of them.

  Equal to `lif.activity` with the same arguments and soft reset, as are its
  first derivatives. Second derivatives are NaN; use `lif.activity` for them.

  Args:
    source: of currents [T, ...].
    neuron: parameters, scalars or arrays broadcastable to [...].
    weights: [T, K], weight of each time step in each sum.
    surrogate: see `lif.step`.
    unroll: time steps per iteration of the loop, at most T; 0 chooses 1 on a
      CPU and `UNROLL` elsewhere. It changes the rounding only.

  Returns:
    A `currents.Activity`: spikes [T, ...], sums [K, ...].
  """
  if not unroll:
    unroll = 1 if jax.default_backend() == 'cpu' else UNROLL
  source, neuron, weights = (
      source._replace(steps=dtypes.float32(source.steps),
                      noise=dtypes.float32(source.noise),
                      fixed=dtypes.float32(source.fixed)),
      *dtypes.float32((neuron, weights)))
  shape = jax.eval_shape(
      source.current_fn, *jax.tree.map(
          lambda x: x[0], (source.steps, source.noise)), source.fixed).shape
  spikes, sums = _activity(
      source.current_fn, surrogate, LoopSize(
          source.num_steps, min(unroll, source.num_steps)),
      source.steps, source.noise, source.fixed,
      jnp.broadcast_to(neuron.decay, shape),
      jnp.broadcast_to(neuron.threshold, shape), weights)
  return currents.Activity(spikes, sums)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _activity(
    current_fn: Callable[[Any, Any, Any], jax.Array],
    surrogate: lif.Surrogate, size: LoopSize, steps: Any, noise: Any,
    fixed: Any, decay: jax.Array, threshold: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns spikes [T, ...] and sums [K, ...]."""
  return _forward(current_fn, surrogate, size, steps, noise, fixed, decay,
                  threshold, weights)[0]


def _forward(current_fn, surrogate, size, steps, noise, fixed, decay,
             threshold, weights):
  """Returns spikes and sums, and the residuals of the backward pass."""
  del surrogate
  shape = decay.shape
  loop = batching.merge_vmaps(
      functools.partial(_forward_loop, current_fn, size))
  v, sums = loop(steps, noise, _ranked(fixed, shape), decay, threshold,
                 _columns(weights))
  spikes = (v > threshold[None]).astype(v.dtype)
  return (spikes, jnp.stack(sums)), (
      v, steps, noise, fixed, decay, threshold, weights)


def _forward_loop(current_fn, size, steps, noise, fixed, a, v_th, columns):
  """Returns potentials [B, T, ...] and sums [B, ...]; all arguments have B."""
  constant = not jax.tree.leaves((steps, noise))
  if constant:
    current = current_fn(steps, noise, _spread(fixed, a.shape))

  def step(t, carry, potentials):
    del potentials
    v, sums = carry
    i_t = current if constant else current_fn(
        _rows(steps, t), _rows(noise, t), _spread(fixed, a.shape))
    v = a * v + (1.0 - a) * i_t - jnp.where(v > v_th, v_th, 0.0)
    z = jnp.where(v > v_th, 1.0, 0.0)
    sums = tuple(x + _scalar(c, t, z) * z for x, c in zip(sums, columns))
    return (v, sums), [v]

  zero = jnp.zeros_like(a)
  (_, sums), (potentials,) = _loop(
      size, step, (zero, (zero,) * len(columns)),
      [jnp.zeros((len(zero), size.num_steps) + zero.shape[1:], zero.dtype)],
      backwards=False)
  return potentials, sums


def _backward(current_fn, surrogate, size, residuals, cotangents):
  """Returns the cotangents of the traced arguments, None for the noise.

  With u = v - v_th, s' the surrogate's derivative and z_bar the cotangent of
  the spikes, the cotangent of the potential runs backwards in time:

      v_bar_t = (z_bar_t - v_th v_bar_{t+1}) s'(u_t) + a v_bar_{t+1}
  """
  v, steps, noise, fixed, decay, threshold, weights = residuals
  spikes_bar, sums_bar = cotangents
  shape = decay.shape
  _, gather = jax.vjp(functools.partial(_spread, shape=shape), fixed)

  def slope(u):
    return jax.jvp(surrogate, (u,), (jnp.ones_like(u),))[1]

  loop = batching.merge_vmaps(
      functools.partial(_backward_loop, current_fn, slope, size))
  steps_bar, fixed_bar, decay_bar, threshold_bar = loop(
      v, spikes_bar, tuple(sums_bar), steps, noise, _ranked(fixed, shape),
      decay, threshold, _columns(weights))
  spikes = (v > threshold[None]).astype(v.dtype).reshape(
      size.num_steps, -1)
  weights_bar = linalg.matmul(
      spikes, sums_bar.reshape(len(sums_bar), -1).T)
  return (steps_bar, None, *gather(fixed_bar), decay_bar, threshold_bar,
          weights_bar)


def _backward_loop(current_fn, slope, size, v, z_bars, sums_bar, steps,
                   noise, fixed, a, v_th, columns):
  """Returns the cotangents of steps, fixed, a and v_th; all have B.

  Unused cotangents cost nothing: XLA removes them from the loop, but for the
  rows that are written in the place of z_bars.
  """
  constant = not jax.tree.leaves((steps, noise))
  spread = functools.partial(_spread, fixed, a.shape)
  pull_constant = constant and jax.vjp(
      functools.partial(current_fn, steps, noise), spread())
  leaves, tree = jax.tree.flatten(steps)
  in_place = leaves and leaves[0].shape == z_bars.shape

  def step(t, carry, steps_bar):
    v_bar, fixed_bar, a_bar, v_th_bar = carry
    u = _row(v, t) - v_th
    z_bar = _row(steps_bar[0] if in_place else z_bars, t) - v_th * v_bar
    for x, c in zip(sums_bar, columns):
      z_bar = z_bar + _scalar(c, t, x) * x
    through_spike = z_bar * slope(u)
    # The reset of the step after this one.
    v_th_bar = v_th_bar - through_spike - jnp.where(u > 0, v_bar, 0.0)
    v_bar = through_spike + a * v_bar
    if constant:
      current, fixed_bar, rows_bar = pull_constant[0], fixed_bar + v_bar, []
    else:
      current, pull = jax.vjp(
          lambda steps, fixed: current_fn(steps, _rows(noise, t), fixed),
          _rows(steps, t), spread())
      row_bar, fixed_t_bar = pull((1.0 - a) * v_bar)
      rows_bar = jax.tree.leaves(row_bar)
      fixed_bar = jax.tree.map(jnp.add, fixed_bar, fixed_t_bar)
    v_tm1 = jnp.where(t > 0, _row(v, jnp.where(t > 0, t - 1, 0)), 0.0)
    a_bar = a_bar + v_bar * (v_tm1 - current)
    return (v_bar, fixed_bar, a_bar, v_th_bar), rows_bar

  zero = jnp.zeros_like(a)
  # The first cotangent of `steps` overwrites z_bars row by row.
  buffers = [z_bars if i == 0 and in_place else jnp.zeros_like(leaf)
             for i, leaf in enumerate(leaves)]
  fixed_zero = zero if constant else jax.tree.map(jnp.zeros_like, spread())
  (_, fixed_bar, a_bar, v_th_bar), steps_bar = _loop(
      size, step, (zero, fixed_zero, zero, zero), buffers, backwards=True)
  if constant:
    fixed_bar, = pull_constant[1]((1.0 - a) * fixed_bar)
  return jax.tree.unflatten(tree, steps_bar), fixed_bar, a_bar, v_th_bar


def _loop(size, step, carry, arrays, *, backwards):
  """Returns the last carry, and the arrays with the rows of all steps.

  A while loop with one unsigned counter: `jax.lax.fori_loop` has two, and
  converts a signed one for every row, each a small kernel of its own.

  Args:
    size: `LoopSize`.
    step: (t, carry, arrays) -> (carry, row t of each array [B, T, ...]).
    carry: before the first step.
    arrays: [B, T, ...] each, whose rows are replaced at the end of an
      iteration.
    backwards: whether time runs backwards.
  """
  def iteration(i, carry, arrays, unroll):
    rows, last = [], jnp.uint32(size.num_steps - 1)
    for k in range(unroll):
      carry, row = step(last - k - i if backwards else i + k, carry, arrays)
      rows.append(row)
    first = last - (unroll - 1) - i if backwards else i
    order = slice(None, None, -1 if backwards else 1)
    return carry, [_with_rows(array, new[order], first)
                   for array, new in zip(arrays, zip(*rows))]

  rest = size.num_steps % size.unroll
  end, unroll = jnp.uint32(size.num_steps - rest), jnp.uint32(size.unroll)
  _, result = jax.lax.while_loop(
      lambda counted: counted[0] < end,
      lambda counted: (
          counted[0] + unroll, iteration(counted[0], *counted[1], size.unroll)),
      (jnp.uint32(0), (carry, arrays)))
  return iteration(end, *result, rest) if rest else result


def _ranked(fixed, shape):
  """Returns arrays with leading axes of 1 up to the rank of the shape."""
  return jax.tree.map(lambda x: jnp.reshape(
      x, (1,) * (len(shape) - jnp.ndim(x)) + jnp.shape(x)), fixed)


def _spread(fixed, shape):
  """Returns arrays broadcast to the shape."""
  return jax.tree.map(lambda x: jnp.broadcast_to(x, shape), fixed)


def _columns(weights):
  """Returns the K columns of weights [T, K]."""
  return tuple(weights[:, k] for k in range(weights.shape[1]))


def _scalar(column, t, like):
  """Returns entry t of a column [B, T], broadcastable to [B, ...]."""
  return _row(column, t).reshape((-1,) + (1,) * (like.ndim - 1))


def _rows(tree, t):
  """Returns row t of every array [B, T, ...] of a pytree."""
  return jax.tree.map(lambda x: _row(x, t), tree)


def _row(array, t):
  """Returns row t of [B, T, ...]."""
  return jax.lax.dynamic_index_in_dim(array, t, 1, keepdims=False)


def _with_rows(array, rows, t):
  """Returns [B, T, ...] with its rows from t on replaced."""
  return jax.lax.dynamic_update_slice_in_dim(array, jnp.stack(rows, 1), t, 1)


_activity.defvjp(_forward, _backward)
