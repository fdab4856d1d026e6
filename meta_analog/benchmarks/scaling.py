"""Scaling of the cost of a training step along each axis of its size."""

from collections.abc import Sequence
import functools
from typing import Any

import ml_collections
import numpy as np

from meta_analog.benchmarks import meta_step
from meta_analog.benchmarks import timing

# Shared by all axes, but for the one that varies.
SHARED = {
    'adapt__rule': 'delta', 'adapt__num_steps': 1,
    'training__tasks_per_step': 64, 'training__tasks_per_chip': 4,
    'training__tasks_at_once': 0,
    'network__num_time_steps': 50, 'network__hidden_sizes': (40, 40)}
AXES = {
    'tasks': (64, 128, 256, 512),
    'time_steps': (50, 100, 200, 400),
    'width': (40, 80, 160, 320),
    'inner_steps': (1, 2, 4, 8),
    'chips': (32, 64, 128, 256)}
# A quick run measures the network alone, which is sooner compiled.
QUICK_CHANGES = {'device': 'ideal', 'training__num_steps': 20}
QUICK_AXES = {
    'tasks': (64, 256), 'time_steps': (50, 200), 'width': (40, 160),
    'inner_steps': (1, 4), 'chips': (32, 128)}


def fields(axis: str, value: int) -> dict[str, Any]:
  """Returns the changes to the config at a value of an axis.

  Args:
    axis: of AXES. 'chips' have one task each, where the chips of all others
      have four; 'width' is that of both hidden layers.
    value: along it.

  Returns:
    Fields for `meta_step.step_config`.
  """
  return SHARED | {
      'tasks': {'training__tasks_per_step': value},
      'time_steps': {'network__num_time_steps': value},
      'width': {'network__hidden_sizes': (value, value)},
      'inner_steps': {'adapt__num_steps': value},
      'chips': {'training__tasks_per_step': value,
                'training__tasks_per_chip': 1}}[axis]


def measure(
    config: ml_collections.ConfigDict, axes: dict[str, Sequence[int]], *,
    num_rounds: int, **changes: Any
) -> dict[str, dict[str, Any]]:
  """Returns the seconds of a step along each axis, without read noise.

  All points take turns, and the fewest seconds of each count.

  Args:
    config: to begin from.
    axes: values along some of AXES.
    num_rounds: of turns.
    **changes: to all points, see `meta_step.step_config`.

  Returns:
    {axis: {'values', 'seconds', 'slope', 'device'}}, the slope in log-log.
  """
  points, names = {}, {}
  for axis, values in axes.items():
    for value in values:
      chosen = fields(axis, value) | changes
      names[axis, value] = repr(sorted(chosen.items()))
      points[names[axis, value]] = chosen
  made = meta_step.compile_all(
      functools.partial(meta_step.make_step, meta_step.step_config(
          config, noisy=False, **chosen)) for chosen in points.values())
  taken = timing.interleaved(
      {name: meta_step.call(*one) for name, one in zip(points, made)},
      num_rounds)
  out = {}
  for axis, values in axes.items():
    fewest = [float(np.min(taken[names[axis, value]])) for value in values]
    out[axis] = {'values': list(values), 'seconds': fewest,
                 'slope': timing.slope(values, fewest),
                 'device': changes.get('device', config.device)}
  return out
