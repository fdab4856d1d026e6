"""Runs from Python: train, evaluate, and load what a run left behind."""

from collections.abc import Callable
import contextlib
import os
import pathlib
from typing import Any
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.core import errors
from meta_analog.experiment import evaluate as evaluate_lib
from meta_analog.experiment import results
from meta_analog.experiment import run as run_lib
from meta_analog.experiment import run_record
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.learning import transforms
from meta_analog.runtime import atomic_files
from meta_analog.runtime import checkpoints
from meta_analog.runtime import environment
from meta_analog.runtime import metrics as metrics_lib
from meta_analog.training import meta_training
from meta_analog.training import params_file

Folder = str | os.PathLike[str]
METRICS, EVALUATION = 'metrics.jsonl', 'evaluation.npz'


class Run(NamedTuple):
  """Results of a finished run, or of an evaluation in a folder of its own.

  Attributes:
    config: locked, as the run was configured.
    summary: what summary.json holds.
    metrics: of the training, {name: [S, ...]} over the S logged steps, NaN
      where a step lacks the value; 'step' [S] among them. Empty for an
      evaluation.
    evaluation: the arrays of evaluation.npz, by name.
    params: trained parameters {module: {name: array}}, as Haiku lays them out.
      None for an evaluation, whose parameters are those of its source.
    folder: that all this was read from.
  """

  config: ml_collections.ConfigDict
  summary: dict[str, Any]
  metrics: dict[str, np.ndarray]
  evaluation: dict[str, np.ndarray]
  params: transforms.Params | None
  folder: pathlib.Path


def train(config: ml_collections.ConfigDict, workdir: Folder) -> Run:
  """Meta-trains and evaluates one config, and returns what the run left.

  The same call resumes a run that was interrupted, and loads a finished one.

  Args:
    config: of the run, such as `get_config()` of a file in configs/ returns.
    workdir: folder of the run; made where it does not exist.

  Returns:
    See `load`.

  Raises:
    InputError: if the config or the folder cannot be.
    RunError: if the run fails; see `core.errors`.
  """
  _use_all_cores()
  run_lib.run(config, str(_folder(workdir)))
  return load(workdir)


def evaluate(
    source: Folder | None, config: ml_collections.ConfigDict, folder: Folder
) -> Run:
  """Evaluates trained parameters under a config, into a folder of its own.

  Args:
    source: folder of a run, or a .npz file of parameters; None evaluates the
      parameters that a training of this config begins with.
    config: to evaluate under; its network has the shapes of the source.
    folder: of the evaluation; not that of a run.

  Returns:
    See `load`.

  Raises:
    InputError: if the config, the source or the folder cannot be.
    RunError: if the evaluation fails; see `core.errors`.
  """
  _use_all_cores()
  source = evaluate_lib.INITIAL if source is None else str(_folder(source))
  run_lib.run(config, str(_folder(folder)), 'evaluate', source=source)
  return load(folder)


def load(folder: Folder) -> Run:
  """Returns what a finished run, or an evaluation, left in its folder.

  Folders of older versions are read as well: fields that they lack have the
  value that changes nothing, and parameters come from the newest checkpoint
  where there is no parameters.npz.

  Args:
    folder: of the run.

  Returns:
    A `Run`.

  Raises:
    InputError: in one line, if a file is missing or damaged.
  """
  path = _folder(folder)
  if not path.is_dir():
    raise errors.InputError(f'there is no folder {path}')
  if not (path / workdir_lib.CONFIG).is_file():
    raise errors.InputError(f'{path} holds no run: no {workdir_lib.CONFIG}')
  try:
    config = saved_config.get_config(str(path))
    summary = run_record.result(path, results.SUMMARY)
    if summary is None:
      raise errors.InputError(
          f'{path} holds no finished run: no {results.SUMMARY}')
    if not isinstance(summary, dict):
      raise errors.InputError(f'{path / results.SUMMARY} is damaged')
    trained = not evaluate_lib.is_evaluation(path)
    return Run(
        config, summary,
        _metrics(path / METRICS) if trained else {},
        _arrays(path / EVALUATION),
        _params(config, path) if trained else None, path)
  except errors.StorageError as error:
    raise errors.InputError(str(error)) from None


def _folder(path):
  return workdir_lib.expanded(path)


def _use_all_cores():
  """Lets jax see all cores, as the commands do, unless it runs already."""
  with contextlib.suppress(RuntimeError):
    environment.use_all_cores()


def _arrays(path):
  """Returns the arrays of a .npz file by name; raises InputError."""
  if not path.is_file():
    raise errors.InputError(f'{path.parent} lacks {path.name}')
  return atomic_files.read_npz(path)


def _metrics(path):
  """Returns {name: [S, ...]} of a file of S lines, NaN where one lacks it."""
  if not path.is_file():
    raise errors.InputError(f'{path.parent} lacks {path.name}')
  lines, columns = metrics_lib.read(path), {}
  try:
    names = dict.fromkeys(
        name for line in lines for name, value in line.items()
        if not isinstance(value, dict))
    for name in names:
      values = [line.get(name) for line in lines]
      shape = next((np.shape(x) for x in values if x is not None), ())
      columns[name] = np.asarray(
          [np.full(shape, np.nan) if x is None else x for x in values])
  except (AttributeError, ValueError):
    raise errors.InputError(f'{path} is damaged: not the metrics of a run'
                            ) from None
  return columns


def _params(config, path):
  """Returns parameters.npz, or what the newest checkpoint of a run holds."""
  if (path / params_file.FILE).is_file():
    return params_file.nested(_arrays(path / params_file.FILE))
  ignore: Callable[[str], None] = lambda _: None
  state = jax.jit(meta_training.make(config, build.build(config)).init)(
      jax.random.key(0))
  restored = checkpoints.Checkpoints(path / 'checkpoints').newest(state, ignore)
  if restored is None:
    raise errors.InputError(
        f'{path} lacks {params_file.FILE} and holds no checkpoint')
  return jax.tree.map(np.asarray, restored.state.params)
