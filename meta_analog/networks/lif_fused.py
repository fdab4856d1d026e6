"""The time loop of a LIF layer, much faster than a differentiated scan.

Same numbers as `lif.activity` with soft reset; once differentiable. What makes
it fast on a CPU, with how many times longer a presentation takes without it,
forwards and backwards, without and with read noise (1-40-40-1, 100 steps, 4 x
20 samples at once, one core of an AMD EPYC, side by side in one process; before
`read_noise` and the options of `compilation`):

    all of it, against `lif.activity`                                2.4   2.8
    the input current is computed inside the loop, from what it is
      made of (a product, its noise, the converters), and once more
      in the backward pass: no array of currents is written and read 1.3   1.9
    a constant current is never spread over time, nor its gradient   1.3   1.1
    sums of spikes over time are taken inside the loop               1.4   1.3
    rows are cut by plain slices under `vmap`, where jax's own rule
      gathers and scatters                                           1.03  1.09

and with how many times longer a training step takes, without read noise, the
last for one task at a time:

    what is the same for all samples or columns is spread inside
      the loop, not read as an array                                 1.05
    a row of the cotangents of spikes gives way to the cotangent
      that it leads to, in the same array (on two cores 1.07)        1.03
    the time loop counts once, without a sign                        1.05

Elsewhere than on a CPU every pass is a program to be started, so there ten time
steps make a round, which XLA joins into two or three passes: on one H100 a
training step of 256 tasks took 12.9 ms with one, 3.3 ms with 10, 3.4 ms with 20
and 3.3 ms, for twice the compilation, with 50 (products rounded to TF32, see
`linalg`). A kernel by hand was left: with 20 the loops take 1.3 ms of 3.4, at
least 0.6 of them for their arrays at the 2.3 TB/s of a copy, and in 0.8 ms none
of 397 passes runs. So it could save 0.7 ms and a part of those 0.8.

Tried on that core and not kept: the products of the spikes that are there
alone, in C (forwards 0.10 instead of 0.08 ms at one spike in ten; 0.05 instead
of 0.09 ms for the gradient of the weights); blocks of time that fit the cache,
all layers of one before the next (2 times slower: a scan copies what it keeps);
gradients written over the potentials (1.1 times slower); one task at a time:
sums of spikes and cotangents taken a step late, arrays that are not cleared
(nothing), four steps to a round (1.02 times slower).

The backward pass keeps only the membrane potentials. No shape is flattened:
XLA would index each broadcast of a flat row by a division (6 ms instead of 0.9
ms for the noise of one layer).

Axes: B batch of all vmaps, T time step, K sum; `...` any.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import batching
from meta_analog.core import currents
from meta_analog.core import linalg
from meta_analog.networks import lif

STEPS_AT_ONCE = 10  # elsewhere than on a CPU


class Rounds(NamedTuple):
  """How a time loop runs, static."""

  num_steps: int  # T
  size: int  # time steps of a round, at most T


def activity(
    source: currents.Source,
    neuron: lif.Neuron,
    weights: jax.Array,
    *,
    surrogate: lif.Surrogate = lif.fast_sigmoid,
    steps_at_once: int = 0,
) -> currents.Activity:
  """Returns the spikes of a layer at rest that is driven by a source.

  Equal to `lif.activity` with the same arguments and soft reset, and to its
  first derivatives. Second derivatives need that.

  Args:
    source: of currents [T, ...].
    neuron: parameters, scalars or arrays broadcastable to [...].
    weights: [T, K], of each time step in each sum.
    surrogate: see `lif.step`.
    steps_at_once: in a round of the loop; more than T are T, 0 is what suits
      the machine. The numbers are the same but for rounding.

  Returns:
    A `currents.Activity`.
  """
  if not steps_at_once:
    steps_at_once = 1 if jax.default_backend() == 'cpu' else STEPS_AT_ONCE
  shape = jax.eval_shape(
      source.current_fn, *jax.tree.map(
          lambda x: x[0], (source.steps, source.noise)), source.fixed).shape
  spikes, sums = _activity(
      source.current_fn, surrogate, Rounds(
          source.num_steps, min(steps_at_once, source.num_steps)),
      source.steps, source.noise, source.fixed,
      jnp.broadcast_to(neuron.decay, shape),
      jnp.broadcast_to(neuron.threshold, shape), weights)
  return currents.Activity(spikes, sums)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _activity(
    current_fn: Callable[[Any, Any, Any], jax.Array],
    surrogate: lif.Surrogate, rounds: Rounds, steps: Any, noise: Any,
    fixed: Any, decay: jax.Array, threshold: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns spikes [T, ...] and sums [K, ...]."""
  return _forward(current_fn, surrogate, rounds, steps, noise, fixed, decay,
                  threshold, weights)[0]


def _forward(current_fn, surrogate, rounds, steps, noise, fixed, decay,
             threshold, weights):
  """Returns spikes and sums, and what the backward pass needs."""
  del surrogate
  shape = decay.shape
  loop = batching.merge_vmaps(
      functools.partial(_forward_loop, current_fn, rounds))
  v, sums = loop(steps, noise, _ranked(fixed, shape), decay, threshold,
                 _columns(weights))
  spikes = (v > threshold[None]).astype(v.dtype)
  return (spikes, jnp.stack(sums)), (
      v, steps, noise, fixed, decay, threshold, weights)


def _forward_loop(current_fn, rounds, steps, noise, fixed, a, v_th, columns):
  """Returns potentials [B, T, ...] and sums [B, ...]; all arguments have B."""
  constant = not jax.tree.leaves((steps, noise))
  if constant:
    current = current_fn(steps, noise, _spread(fixed, a.shape))

  def step(t, carry, potentials):
    del potentials
    v, sums = carry
    now = current if constant else current_fn(
        _rows(steps, t), _rows(noise, t), _spread(fixed, a.shape))
    v = a * v + (1.0 - a) * now - jnp.where(v > v_th, v_th, 0.0)
    z = jnp.where(v > v_th, 1.0, 0.0)
    sums = tuple(x + _scalar(c, t, z) * z for x, c in zip(sums, columns))
    return (v, sums), [v]

  zero = jnp.zeros_like(a)
  (_, sums), (potentials,) = _loop(
      rounds, step, (zero, (zero,) * len(columns)),
      [jnp.zeros((len(zero), rounds.num_steps) + zero.shape[1:], zero.dtype)],
      backwards=False)
  return potentials, sums


def _backward(current_fn, surrogate, rounds, residuals, cotangents):
  """Returns the cotangents of what is not static, None for the noise.

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
      functools.partial(_backward_loop, current_fn, slope, rounds))
  steps_bar, fixed_bar, decay_bar, threshold_bar = loop(
      v, spikes_bar, tuple(sums_bar), steps, noise, _ranked(fixed, shape),
      decay, threshold, _columns(weights))
  spikes = (v > threshold[None]).astype(v.dtype).reshape(
      rounds.num_steps, -1)
  weights_bar = linalg.matmul(
      spikes, sums_bar.reshape(len(sums_bar), -1).T)
  return (steps_bar, None, *gather(fixed_bar), decay_bar, threshold_bar,
          weights_bar)


def _backward_loop(current_fn, slope, rounds, v, z_bars, sums_bar, steps,
                   noise, fixed, a, v_th, columns):
  """Returns the cotangents of steps, fixed, a and v_th; all have B.

  Written as if all were wanted: XLA drops from a loop what nobody uses, but for
  the rows that take the place of z_bars.
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
    rows_bar = []
    if constant:
      current, fixed_bar = pull_constant[0], fixed_bar + v_bar
    else:
      current, pull = jax.vjp(
          lambda steps, fixed: current_fn(steps, _rows(noise, t), fixed),
          _rows(steps, t), spread())
      now, more = pull((1.0 - a) * v_bar)
      rows_bar = jax.tree.leaves(now)
      fixed_bar = jax.tree.map(jnp.add, fixed_bar, more)
    before = jnp.where(t > 0, _row(v, jnp.where(t > 0, t - 1, 0)), 0.0)
    a_bar = a_bar + v_bar * (before - current)
    return (v_bar, fixed_bar, a_bar, v_th_bar), rows_bar

  zero = jnp.zeros_like(a)
  # A row of z_bars gives way to the first cotangent that it leads to.
  empty = [z_bars if i == 0 and in_place else jnp.zeros_like(leaf)
           for i, leaf in enumerate(leaves)]
  start = (zero, zero if constant else jax.tree.map(jnp.zeros_like, spread()),
           zero, zero)
  (_, fixed_bar, a_bar, v_th_bar), steps_bar = _loop(
      rounds, step, start, empty, backwards=True)
  if constant:
    fixed_bar, = pull_constant[1]((1.0 - a) * fixed_bar)
  return jax.tree.unflatten(tree, steps_bar), fixed_bar, a_bar, v_th_bar


def _loop(rounds, step, carry, arrays, *, backwards):
  """Returns what is carried, and the arrays with the rows that steps gave.

  `jax.lax.fori_loop` counts twice and converts its count, which has a sign, for
  every row, each a small program of its own.

  Args:
    rounds: how it runs.
    step: (t, carry, arrays) -> (carry, row t of each array [B, T, ...]).
    carry: before the first step.
    arrays: lists what rows are written into, at the end of a round.
    backwards: whether time runs backwards.
  """
  def one_round(i, carry, arrays, size):
    rows, last = [], jnp.uint32(rounds.num_steps - 1)
    for k in range(size):
      carry, now = step(last - k - i if backwards else i + k, carry, arrays)
      rows.append(now)
    first = last - (size - 1) - i if backwards else i
    up = slice(None, None, -1 if backwards else 1)
    return carry, [_with_rows(array, new[up], first)
                   for array, new in zip(arrays, zip(*rows))]

  rest = rounds.num_steps % rounds.size
  end, size = jnp.uint32(rounds.num_steps - rest), jnp.uint32(rounds.size)
  _, both = jax.lax.while_loop(
      lambda counted: counted[0] < end,
      lambda counted: (
          counted[0] + size, one_round(counted[0], *counted[1], rounds.size)),
      (jnp.uint32(0), (carry, arrays)))
  return one_round(end, *both, rest) if rest else both


def _ranked(fixed, shape):
  """Returns arrays of as many axes as the shape has, of which some are 1."""
  return jax.tree.map(lambda x: jnp.reshape(
      x, (1,) * (len(shape) - jnp.ndim(x)) + jnp.shape(x)), fixed)


def _spread(fixed, shape):
  return jax.tree.map(lambda x: jnp.broadcast_to(x, shape), fixed)


def _columns(weights):
  """Returns the K columns of weights [T, K]."""
  return tuple(weights[:, k] for k in range(weights.shape[1]))


def _scalar(column, t, like):
  """Returns entry t of a column [B, T], to multiply [B, ...] with."""
  return _row(column, t).reshape((-1,) + (1,) * (like.ndim - 1))


def _rows(tree, t):
  return jax.tree.map(lambda x: _row(x, t), tree)


def _row(array, t):
  """Returns row t of [B, T, ...]."""
  return jax.lax.dynamic_index_in_dim(array, t, 1, keepdims=False)


def _with_rows(array, rows, t):
  """Returns [B, T, ...] with other rows from t on."""
  return jax.lax.dynamic_update_slice_in_dim(array, jnp.stack(rows, 1), t, 1)


_activity.defvjp(_forward, _backward)
