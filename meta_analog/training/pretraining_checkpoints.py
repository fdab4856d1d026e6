"""Checkpoints of a pretraining, which lie in the run's folder until it ends."""

from collections.abc import Callable
import pathlib
import time
from typing import Any

import jax

from meta_analog.core import sharding
from meta_analog.runtime import checkpoints
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import signals


class PretrainingCheckpoints:
  """The checkpoints of one pretraining; its state is any pytree of arrays."""

  def __init__(
      self, folder: pathlib.Path, facts: dict[str, Any],
      log: Callable[[str], None], stop: signals.StopRequest
  ):
    """Names the folder, which is made by the first save.

    Args:
      folder: of these checkpoints alone.
      facts: recorded with each: 'config', and 'environment' as
        `environment.record` gives it.
      log: prints a line.
      stop: receives what can be resumed.
    """
    self._folder, self._facts, self._log, self._stop = folder, facts, log, stop
    self._saved = checkpoints.Checkpoints(folder)
    self._before_s, self._began = 0.0, time.monotonic()

  def facts(self) -> dict[str, Any]:
    """Returns what is recorded with a state; wall_s is of all its steps."""
    wall_s = self._before_s + time.monotonic() - self._began
    return {'wall_s': wall_s} | self._facts

  def restore(self, state: Any) -> tuple[int, Any]:
    """Returns how many steps were taken before, and the state after them.

    Args:
      state: at the start; the result where there is no checkpoint.

    Raises:
      errors.CorruptFileError: if all checkpoints are damaged.
    """
    found = self._saved.newest(
        distributed.local(state), self._log, set_aside=True)
    if found is None:
      return 0, state
    step, self._before_s = found.facts['step'], found.facts['wall_s']
    self._log(f'Resuming from step {step} of pretraining.')
    environment.warn_of_changes(
        found.facts['environment'], self._facts['environment'], self._log)
    self._advise(step)
    return step, jax.device_put(found.state, sharding.replicated())

  def save(self, step: int, state: Any) -> None:
    """Writes a checkpoint.

    Raises:
      errors.StorageError: if the disk fails.
    """
    self._saved.save(step, distributed.local(state), b'', self.facts())
    self._advise(step)

  def _advise(self, step):
    self._stop.advice = (
        f'step {step} of pretraining is saved in {self._folder}; the same '
        'command resumes from there')
