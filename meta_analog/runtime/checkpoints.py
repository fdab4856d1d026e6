"""Checkpoints of the training state, written by orbax, verified by SHA-256.

A checkpoint is a folder named by its step: `state` as orbax writes it, the
metrics.jsonl up to that step, and the manifest, written last. The folder gets
its name only then, so a checkpoint that can be seen is complete.

orbax's CheckpointManager (0.12.8) is not used: it names the folder before a
manifest can lie in it, and removes old ones under their names. One of 12 kills
while it saved left half a checkpoint that it then listed.
"""

from collections.abc import Callable
import contextlib
import hashlib
import os
import pathlib
import re
import tempfile
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from meta_analog.core import errors
from meta_analog.runtime import atomic_files
from meta_analog.runtime import manifest

MAX_TO_KEEP = 3
SMALL_FILES = 300_000  # bytes on disk of what orbax writes beside the data
STATE, METRICS = 'state', 'metrics.jsonl'
# Of a path that orbax takes as it is, for no pattern and no URL.
PLAIN = re.compile(r'[\w./+=,@ -]*', re.ASCII)


class Restored(NamedTuple):
  """Contents of a checkpoint."""

  state: Any
  metrics: bytes  # metrics.jsonl up to its step
  facts: dict[str, Any]  # what `save` was given


class Checkpoints:
  """The checkpoints of one run."""

  def __init__(self, folder: pathlib.Path):
    """Names the folder, which is made by the first save.

    Raises:
      InputError: if neither it nor the system's folder of temporary files has a
        plain name, see `_plain`.
      CorruptFileError: if the folder is a link.
    """
    self._folder = pathlib.Path(folder).absolute()
    if not any(PLAIN.fullmatch(str(path)) for path in (
        self._folder, tempfile.gettempdir())):
      raise errors.InputError(
          f'{ascii(str(self._folder))}: checkpoints cannot be read from such a '
          'path while TMPDIR has another; choose another --workdir')
    if self._folder.is_symlink():
      raise errors.CorruptFileError(
          f'{self._folder} is a link: checkpoints are read from within the '
          'workdir only')

  def steps(self) -> list[int]:
    """Returns the steps of all checkpoints, damaged ones too, newest first."""
    if not self._folder.is_dir():
      return []
    names = (path.name for path in self._folder.iterdir())
    return sorted((int(name) for name in names if name.isdecimal()),
                  reverse=True)

  def save(
      self, step: int, state: Any, metrics: bytes, facts: dict[str, Any]
  ) -> None:
    """Writes a checkpoint and reads it back; returns when it is on disk.

    Args:
      step: of the state.
      state: pytree of arrays.
      metrics: content of metrics.jsonl.
      facts: JSON values to record in the manifest.

    Raises:
      StorageError: if the disk fails; older checkpoints stay.
    """
    partial = self._folder / f'{step}{atomic_files.PARTIAL}'
    try:
      if partial.exists():
        atomic_files.remove(partial)
      partial.mkdir(parents=True)
      size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(state))
      atomic_files.require_space(partial, 3 * size + len(metrics) + SMALL_FILES)
      with _plain(partial) as path:
        _checkpointer().save(path / STATE, args=ocp.args.StandardSave(state))
      if digest(_read(partial / STATE, state)) != digest(state):
        raise OSError('orbax reads something else than it was given')
      (partial / METRICS).write_bytes(metrics)
      manifest.write(partial, facts | {
          'step': step, 'leaves': describe(state), 'state_sha256': digest(state)
      })
      atomic_files.move_into_place(partial, self._folder / str(step))
      for old in self.steps()[MAX_TO_KEEP:]:
        atomic_files.remove(self._folder / str(old))
    except Exception as error:  # orbax raises what it likes
      with contextlib.suppress(OSError):
        atomic_files.remove_partial(self._folder)
      raise errors.StorageError(
          f'checkpoint {step} cannot be written to {self._folder}: '
          f'{errors.reason(error)}') from error

  def facts(self, step: int) -> dict[str, Any]:
    """Returns the facts of a checkpoint that is as it was written.

    Raises:
      CorruptFileError: if it is not.
    """
    body = manifest.verify(self._folder / str(step))
    if body.get('step') != step:
      raise errors.CorruptFileError(f'it is that of step {body.get("step")}')
    return body

  def restore(self, step: int, template: Any) -> Restored:
    """Returns a checkpoint, verified before and after it is read.

    Args:
      step: of a checkpoint.
      template: a state with the expected tree, shapes and dtypes.

    Returns:
      A state like the template, with what was saved beside it.

    Raises:
      CorruptFileError: if it is not as it was written, or does not fit.
    """
    facts = self.facts(step)
    expected = describe(template)
    for name in sorted(expected.keys() | facts['leaves'].keys()):
      there, here = facts['leaves'].get(name), expected.get(name)
      if there != here:
        raise errors.CorruptFileError(
            f'it holds {name} as {there}, not as {here}')
    folder = self._folder / str(step)
    try:
      state = _read(folder / STATE, template)
    except Exception as error:  # orbax raises what it likes
      raise errors.CorruptFileError(
          f'orbax cannot read it: {errors.reason(error)}') from error
    if describe(state) != expected or digest(state) != facts['state_sha256']:
      raise errors.CorruptFileError('orbax read something else than was saved')
    return Restored(state, atomic_files.read_bytes(folder / METRICS), facts)

  def newest(
      self, template: Any, warn: Callable[[str], None], *,
      set_aside: bool = False
  ) -> Restored | None:
    """Returns the newest good checkpoint, or None where there never was one.

    Args:
      template: see `restore`.
      warn: called with a line about each damaged one.
      set_aside: whether damaged ones are renamed, to be out of the way.

    Returns:
      See `restore`.

    Raises:
      CorruptFileError: if all are damaged.
    """
    steps = self.steps()
    for step in steps:
      try:
        return self.restore(step, template)
      except errors.CorruptFileError as error:
        warn(f'Warning: checkpoint {step} is damaged: {error}.')
        last = error
        if set_aside and step != steps[-1]:
          self._set_aside(step)
    if steps:
      raise errors.CorruptFileError(
          f'no checkpoint in {self._folder} is good (of step {steps[-1]}: '
          f'{last}); another --workdir, or none of these files, begins again')
    return None

  def _set_aside(self, step):
    """Renames a damaged checkpoint, so that it stays but does not count."""
    target = self._folder / f'{step}.damaged'
    if target.exists() or target.is_symlink():
      atomic_files.remove(target)
    os.rename(self._folder / str(step), target)


def describe(tree: Any) -> dict[str, str]:
  """Returns {name of a leaf: its dtype and shape}."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path): f'{np.dtype(leaf.dtype)}'
                                      f'{list(np.shape(leaf))}'
          for path, leaf in leaves}


def digest(tree: Any) -> str:
  """Returns the SHA-256 over the values of all leaves, in order."""
  total = hashlib.sha256()
  for leaf in jax.tree.leaves(tree):
    total.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
  return total.hexdigest()


def _read(path, template):
  """Returns what orbax reads; NumPy arrays are read as such."""
  abstract = jax.tree.map(
      lambda x: x if isinstance(x, np.ndarray)
      else ocp.utils.to_shape_dtype_struct(x), template)
  with _plain(path) as plain:
    return _checkpointer().restore(
        plain, args=ocp.args.StandardRestore(abstract))


@contextlib.contextmanager
def _plain(folder):
  """Yields a path of a folder whose names orbax takes for no pattern.

  orbax (0.12.8) expands the name of its own folder as a shell would, or takes
  it for a URL. Such a folder is reached through a link of a plain name.
  """
  if PLAIN.fullmatch(str(folder)):
    yield folder
    return
  with tempfile.TemporaryDirectory(prefix='meta_analog_') as temporary:
    link = pathlib.Path(temporary, 'link')
    link.symlink_to(folder, target_is_directory=True)
    yield link


def _checkpointer():
  """Returns what reads and writes for this process alone.

  Where there are others, orbax would wait for them.
  """
  if jax.process_count() == 1:
    return ocp.Checkpointer(ocp.StandardCheckpointHandler())
  alone = ocp.options.MultiprocessingOptions(
      primary_host=0, active_processes={0}, barrier_sync_key_prefix='alone')
  return ocp.Checkpointer(
      ocp.StandardCheckpointHandler(multiprocessing_options=alone),
      multiprocessing_options=alone)
