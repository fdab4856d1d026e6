"""Tasks that a config names, and the files that it names."""

import pathlib

import ml_collections

from meta_analog.core import types
from meta_analog.tasks import registry as task_registry


def make_task(config: ml_collections.ConfigDict) -> types.Task:
  """Returns the task family that a config names.

  Raises:
    ValueError: if it is unknown, or its data are missing or damaged.
  """
  network = config.network
  return task_registry.make(config.task.name, config.task.to_dict() | {
      'num_time_steps': network.num_time_steps, 'dt_ms': network.dt_ms})


def make_pretraining_task(config: ml_collections.ConfigDict) -> types.Task:
  """Returns the tasks of pretraining: of more classes, one support sample each.

  Raises:
    ValueError: see `build_task.make_task`.
  """
  config = config.copy_and_resolve_references()
  way, shot, query_shot = config.training.pretrain_way, 1, 4
  with config.unlocked():
    config.task.update(
        way=way, shot=shot, query_shot=query_shot, support_size=way * shot,
        query_size=way * query_shot)
  return make_task(config)


def located(name: str) -> pathlib.Path:
  """Returns the path of a file as it stands, or from the project's folder."""
  path, ours = pathlib.Path(name), pathlib.Path(__file__).parents[2] / name
  return ours if ours.is_file() and not path.is_file() else path
