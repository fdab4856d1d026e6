"""Training loop: steps, logging, checkpoints, and when it stops."""

from collections.abc import Callable
import contextlib
import time
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.core import errors
from meta_analog.core import sharding
from meta_analog.runtime import distributed
from meta_analog.runtime import metrics
from meta_analog.runtime import signals
from meta_analog.training import meta_training


class Hooks(NamedTuple):
  """Callbacks of the training loop.

  Attributes:
    log: gets the lines of metrics.jsonl.
    progress: the bar.
    log_line: prints a line.
    save: `(step, state, wall_s)`, writes a checkpoint.
    bad: `(step, state before it, metrics)`, at the first step whose loss or
      gradient is not finite; raises.
    stop: signals.
    names: of the runs that are trained together; the metrics of several have
      an axis for them.
  """

  log: metrics.Metrics
  progress: metrics.Progress
  log_line: Callable[[str], None]
  save: Callable[[int, Any, float], None]
  bad: Callable[[int, Any, dict[str, Any]], None]
  stop: signals.StopRequest
  names: tuple[str, ...] = ('',)


def run(
    config: ml_collections.ConfigDict, trainer: meta_training.Trainer,
    state: meta_training.TrainState, key: jax.Array, hooks: Hooks, wall_s: float
) -> tuple[meta_training.TrainState, float]:
  """Takes the remaining steps.

  Every step is checked, one step late, so that the device never waits.

  Args:
    config: checked.
    trainer: of the config.
    state: to resume from.
    key: of the whole training.
    hooks: see `Hooks`.
    wall_s: seconds that the steps so far took.

  Returns:
    The last state, and the seconds that all steps took.

  Raises:
    errors.Interrupted: by a signal, once the state is saved.
    whatever the hooks raise.
  """
  c, start = config.training, int(state.step)
  num_runs = len(hooks.names)
  clock = _Clock(wall_s, c.num_steps, num_runs * c.tasks_per_step)
  silences = [_Silence(hooks.log_line, name) for name in hooks.names]
  unchecked = None
  with contextlib.ExitStack() as stack:
    for step in range(start + 1, c.num_steps + 1):
      before, (state, info) = state, trainer.update(state, key)
      if step == start + 1:  # Until it is compiled, there is nothing to save.
        stack.enter_context(hooks.stop.deferred())
      logged = step == 1 or step % c.log_every == 0 or step == c.num_steps
      stopping = _stopping(hooks.stop, logged)
      saved = stopping or step % c.checkpoint_every == 0 or step == c.num_steps
      if unchecked is not None:
        _check(hooks, *unchecked)
      unchecked = step, before, info
      if logged or saved:
        _check(hooks, *unchecked)
      if logged:
        values = sharding.to_host(info)
        del values['finite']
        timing = clock.timing(step)
        hooks.log.write(step, values | {'timing': timing})
        rates_Hz = np.reshape(values['rate_Hz'], (num_runs, -1))
        for silence, rates in zip(silences, rates_Hz):
          silence.update(step, rates)
      hooks.progress.update(step, *(_notes(values, timing) if logged else ()))
      if saved:
        hooks.save(step, state, clock.wall_s())
      if stopping:
        raise errors.Interrupted(hooks.stop.signum, hooks.stop.message())
  return state, clock.wall_s()


def compiled_update(
    trainer: meta_training.Trainer, traced: Callable[[], None],
    log: Callable[[str], None]
) -> Callable[..., Any]:
  """Returns the update, which at its first call logs how long it compiled.

  Args:
    trainer: of `meta_training.make`.
    traced: called once the part is done that one thread alone can do at a time.
    log: prints a line.
  """
  found, fixed = [], trainer.update.keywords

  def step(state, key):
    if not found:
      began = time.monotonic()
      lowered = trainer.update.func.lower(state, key, **fixed)
      traced()
      found.append(lowered.compile())
      log(f'The step is compiled, in {time.monotonic() - began:.1f} s.')
    return found[0](state, key, **fixed)

  return step


def _stopping(stop, logged):
  """Returns whether a signal asked to stop; of several processes, any.

  They hear of each other where a step is logged.
  """
  if jax.process_count() == 1:
    return stop.signum is not None
  agreed = distributed.agreed_signal(stop.signum) if logged else None
  if agreed is not None:
    stop.signum = agreed
  return agreed is not None


def _check(hooks, step, before, info):
  """Hands a step that is not finite to the hook, which raises."""
  if not np.all(info['finite']):
    hooks.bad(step, before, info)


def _notes(values, timing):
  """Returns what bar and log say beside the step: of several runs, the mean."""
  rate = timing['tasks_per_s']
  return (f'query loss {np.mean(values["query_loss"]):.3f}',
          '' if rate is None else f'{rate:.0f} tasks/s')


class _Clock:
  """Timing of a run: seconds, tasks per second, time left."""

  def __init__(self, wall_s, num_steps, tasks_per_step):
    self._before_s, self._began = wall_s, time.monotonic()
    self._num_steps, self._tasks_per_step = num_steps, tasks_per_step
    self._steady = None  # the first step compiles: it says nothing

  def wall_s(self):
    return self._before_s + time.monotonic() - self._began

  def timing(self, step):
    now = time.monotonic()
    if self._steady is None:
      self._steady = step, now
      return {'wall_s': self.wall_s(), 'tasks_per_s': None, 'left_s': None}
    rate = (step - self._steady[0]) / max(now - self._steady[1], 1e-9)
    return {'wall_s': self.wall_s(),
            'tasks_per_s': rate * self._tasks_per_step,
            'left_s': (self._num_steps - step) / max(rate, 1e-9)}


class _Silence:
  """Logs when a hidden layer falls silent, and when it spikes again."""

  def __init__(self, log, name):
    self._log, self._silent = log, set()
    self._of = f' of {name}' if name else ''

  def update(self, step, rates_Hz):
    silent = {i + 1 for i, rate in enumerate(rates_Hz) if rate == 0}
    for layer in sorted(silent - self._silent):
      self._log(f'Warning: hidden layer {layer}{self._of} is dead at step '
                f'{step}: it does not spike. Larger init.weight_std, a lower '
                'network.threshold or a later training.noise_start may help.')
    for layer in sorted(self._silent - silent):
      self._log(f'Hidden layer {layer}{self._of} spikes again at step '
                f'{step}.')
    self._silent = silent
