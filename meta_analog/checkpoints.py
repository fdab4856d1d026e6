"""Checkpoints of the training state, by orbax, checked on restore."""

import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

KEPT = 3


class Checkpoints:
  """The checkpoints of one run, newest last."""

  def __init__(self, folder: pathlib.Path):
    """Opens a folder, which is made by the first save."""
    self._folder = pathlib.Path(folder).absolute()
    self._manager = None

  def save(self, step: int, state: Any) -> None:
    """Writes a state; returns when it is on disk."""
    self._open().save(step, args=ocp.args.StandardSave(state))
    self._manager.wait_until_finished()

  def latest(self) -> int | None:
    """Returns the newest step, or None where there is no checkpoint."""
    return self._open().latest_step() if self._folder.is_dir() else None

  def restore(self, step: int, template: Any) -> Any:
    """Returns the state of a step.

    Args:
      step: of a checkpoint.
      template: a state with the expected tree, shapes and dtypes.

    Returns:
      A state like the template.

    Raises:
      ValueError: if the checkpoint does not fit the template.
    """
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
    state = self._open().restore(step, args=ocp.args.StandardRestore(abstract))
    expected = jax.tree.map(np.shape, template)
    if jax.tree.map(np.shape, state) != expected:
      raise ValueError(f'checkpoint {step} has other shapes than this config')
    return state

  def close(self) -> None:
    """Waits for writes and lets go."""
    if self._manager is not None:
      self._manager.close()
      self._manager = None

  def _open(self):
    if self._manager is None:
      self._manager = ocp.CheckpointManager(
          self._folder, options=ocp.CheckpointManagerOptions(
              max_to_keep=KEPT, create=True, enable_async_checkpointing=False))
    return self._manager
