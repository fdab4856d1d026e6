"""What a pretraining keeps in the folder of its run, until it is done."""

import pathlib
import time
from typing import Any

import jax

from meta_analog.core import sharding
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import distributed
from meta_analog.runtime import environment


def forget(folder: pathlib.Path) -> None:
  """Removes the checkpoints of a run's pretraining, where it is done."""
  if (folder / workdir.PRETRAINING).exists():
    atomic_files.remove(folder / workdir.PRETRAINING)


class Kept:
  """The checkpoints of a pretraining; its state is any pytree of arrays."""

  def __init__(self, command: Any):
    """Takes an `run.Run`: config, folder, record, `say` and stop."""
    self._command, self._wall_s = command, 0.0
    self._saved = workdir.pretraining(command.folder)
    self._began = time.monotonic()

  def facts(self) -> dict[str, Any]:
    """Returns what is recorded with a state; the seconds are of all of it."""
    command = self._command
    return {'wall_s': self._wall_s + time.monotonic() - self._began,
            'config': workdir.as_json(command.config),
            'environment': command.record}

  def restore(self, state: Any) -> tuple[int, Any]:
    """Returns how many steps were taken before, and the state after them.

    Args:
      state: at the start; the result where there is no checkpoint.

    Raises:
      faults.DamageError: if all checkpoints are damaged.
    """
    command = self._command
    there = self._saved.newest(distributed.local(state),
                               command.say,
                               set_aside=True)
    if there is None:
      return 0, state
    step, self._wall_s = there.facts['step'], there.facts['wall_s']
    command.say(f'Going on from step {step} of pretraining.')
    environment.warn_of_changes(
        there.facts['environment'], command.record, command.say)
    self._advise(step)
    return step, jax.device_put(there.state, sharding.replicated())

  def save(self, step: int, state: Any) -> None:
    """Writes a checkpoint.

    Raises:
      faults.MachineFault: if the disk fails.
    """
    self._saved.save(step, distributed.local(state), b'', self.facts())
    self._advise(step)

  def _advise(self, step):
    self._command.stop.advice = (
        f'step {step} of pretraining is saved in {self._command.folder}; the '
        'same command goes on from there')
