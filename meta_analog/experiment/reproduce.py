"""Reproduction of the first step that was not finite, to see where it fails.

`reproducer/` of a run holds the state before the step, the key of the training
and the batch, so the step can be reproduced on any machine.
"""

import json
import pathlib
import traceback
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.experiment import context as context_lib
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.runtime import manifest
from meta_analog.training import meta_training

FOLDER = 'reproducer'
ARRAYS = 'reproducer.npz'
PACKAGE = pathlib.Path(__file__).parents[1]


def save(folder: pathlib.Path, trainer: meta_training.Trainer, key: jax.Array,
         step: int, before: meta_training.TrainState, info: dict[str, Any],
         config: dict[str, Any]) -> None:
  """Saves what the step was computed from, and raises its error.

  Args:
    folder: of the run.
    trainer: that took the step.
    key: of the whole training.
    step: number of training steps taken with it.
    before: the state that it was taken from.
    info: its metrics.
    config: of the run.

  Raises:
    errors.NonFiniteError: always.
  """
  finite = np.asarray(info['finite'])
  wrong = [name for name, good in zip(trainer.names(before.params), finite)
           if not good]
  message = (
      f'step {step}: not finite: {", ".join(wrong)}; loss '
      f'{float(info["loss"]):g}, gradient norm '
      f'{float(info["gradient_norm"]):g}; a smaller training.learning_rate or '
      'training.clip_norm may help')
  batch = trainer.batch(before.step, key)
  try:
    _write(folder / FOLDER, {'state': before, 'batch': batch,
                             'key_data': jax.random.key_data(key)},
           {'step': step, 'not_finite': wrong, 'config': config})
  except OSError as error:
    raise errors.NonFiniteError(
        f'{message} (no reproducer: {errors.reason(error)})') from None
  raise errors.NonFiniteError(
      f'{message}; see where with --mode=reproduce --workdir {folder}')


def reproduce(context: context_lib.Context) -> dict[str, Any]:
  """Computes the saved step again and logs where it fails.

  Args:
    context: of the command, its folder that of the run.

  Returns:
    {'step', 'not_finite', 'chips', 'where'}: the loss and the leaves of the
    gradient that are not finite now, on which chips, and where jax_debug_nans
    finds the first NaN, or None.

  Raises:
    errors.InputError: if there is no reproducer, the config is another, or
      there are several processes.
    errors.CorruptFileError: if it is damaged.
  """
  config, folder, log = context.config, context.folder, context.log
  if jax.process_count() > 1:
    raise errors.InputError('--mode=reproduce runs in one process')
  if not workdir.check_of_run(config, folder):
    raise errors.InputError('--mode=reproduce takes no overrides')
  trainer = meta_training.make(config, build.build(config))
  context.stop.advice = 'the same command reproduces again'
  state, key, batch, facts = _read(folder, config, trainer)
  step = facts['step']
  log(f'Step {step} of {folder} again; then not finite: '
      f'{", ".join(facts["not_finite"])}.')
  state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state)
  one_chip = lambda i: (
      state, key, i, jax.tree.map(lambda x: jnp.asarray(x[i]), batch))
  num_chips = len(jax.tree.leaves(batch)[0])
  wrong = _not_finite(trainer, state.params, map(one_chip, range(num_chips)))
  chips = sorted({chip for chip, _ in wrong})
  names = list(dict.fromkeys(name for _, name in wrong))
  log(f'Now not finite: {", ".join(names) or "nothing"}, on chips '
      f'{", ".join(map(str, chips)) or "none"} of 0 to {num_chips - 1}.')
  where = None
  if chips:
    arguments = state.params, *one_chip(chips[0])
    where = (_locate(lambda: trainer.replay(*arguments))
             or _locate(lambda: jax.grad(trainer.replay)(*arguments)))
    log(f'With jax_debug_nans, chip {chips[0]}: '
        f'{where or "no NaN; the numbers overflow to infinity"}')
  return {'step': step, 'not_finite': names, 'chips': chips, 'where': where}


def _not_finite(trainer, params, chips):
  """Returns (chip, name) of each loss and leaf that is not finite."""
  both = jax.jit(jax.value_and_grad(trainer.replay))
  names = [name for name in trainer.names(params) if 'norm' not in name]
  found = []
  for chip in chips:
    leaves = jax.tree.leaves(both(params, *chip))
    found += [(chip[2], name) for name, x in zip(names, leaves)
              if not np.all(np.isfinite(x))]
  return found


def _locate(fn):
  """Returns where the first NaN of a function arises, or None.

  Nothing is compiled, so that scans are loops of Python and the line is that
  of the operation itself.
  """
  with jax.debug_nans(True), jax.disable_jit():
    try:
      fn()
    except FloatingPointError as error:
      calls = [f'{path.relative_to(PACKAGE.parent)}:{frame.lineno} {frame.name}'
               for frame in traceback.extract_tb(error.__traceback__)
               if PACKAGE in (path := pathlib.Path(frame.filename)).parents
               and path != pathlib.Path(__file__)]
      what = str(error).splitlines()[0]
      return ', called by '.join([what, *calls[:-4:-1]]).replace(
          ', called by', ', at', 1)
  return None


def _write(folder, tree, facts):
  """Writes a tree of arrays and facts, whole or not at all."""
  partial = folder.with_name(folder.name + atomic_files.PARTIAL)
  if partial.exists():
    atomic_files.remove(partial)
  partial.mkdir()
  try:
    with (partial / ARRAYS).open('wb') as file:
      np.savez(file, **_named(tree))
    manifest.write(partial, facts)
    atomic_files.move_into_place(partial, folder)
  except OSError:
    atomic_files.remove(partial)
    raise


def _read(folder, config, trainer):
  """Returns state, key, batch and facts of a reproducer, verified."""
  source = folder / FOLDER
  if not source.is_dir():
    raise errors.InputError(
        f'{folder} holds no {FOLDER}: no step went wrong there')
  try:
    facts = manifest.verify(source)
    arrays = atomic_files.read_npz(source / ARRAYS)
  except errors.CorruptFileError as error:
    raise errors.CorruptFileError(
        f'{source} is damaged: {errors.reason(error)}') from None
  key = jax.random.wrap_key_data(jnp.asarray(arrays['key_data']))
  state = jax.jit(trainer.init)(jax.random.key(config.seed))
  template = {'state': state, 'batch': jax.eval_shape(
      trainer.batch, state.step, key), 'key_data': arrays['key_data']}
  if _shapes(_named_shapes(template)) != _shapes(arrays):
    raise errors.InputError(
        f'{source} is of another config than {json.dumps(config.name)} here')
  leaves, treedef = jax.tree_util.tree_flatten_with_path(template)
  tree = treedef.unflatten(
      [arrays[_name(path)] for path, _ in leaves])
  place = lambda new, old: jax.device_put(new, old.sharding)
  return jax.tree.map(place, tree['state'], state), key, tree['batch'], facts


def _named(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _named_shapes(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {_name(path): leaf for path, leaf in leaves}


def _shapes(arrays):
  return {name: (tuple(x.shape), str(x.dtype)) for name, x in arrays.items()}


def _name(path):
  """Returns state/params/meta/layer_0/u for a leaf."""
  part = lambda p: str(getattr(p, 'key', getattr(
      p, 'name', getattr(p, 'idx', p))))
  return '/'.join(map(part, path))
