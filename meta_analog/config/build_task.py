"""Task family and files of a checked config."""

import os
import pathlib
from typing import Any

import ml_collections

from meta_analog.config import config_files
from meta_analog.core import types
from meta_analog.tasks import registry as task_registry


def settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the settings of a config's task, see `registry.Family`."""
  network = config.network
  return config.task.to_dict() | {
      'num_time_steps': network.num_time_steps, 'dt_ms': network.dt_ms}


def pretraining_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns `settings` of pretraining: more classes, one support sample each.

  Args:
    config: of a task with classes.
  """
  way, shot, query_shot = config.training.pretrain_way, 1, 4
  return settings(config) | {
      'way': way, 'shot': shot, 'query_shot': query_shot,
      'support_size': way * shot, 'query_size': way * query_shot}


def make_task(config: ml_collections.ConfigDict) -> types.Task:
  """Returns the task family that a checked config names.

  Raises:
    ValueError: if its data are missing or damaged.
  """
  return task_registry.make(config.task.name, settings(config))


def make_pretraining_task(config: ml_collections.ConfigDict) -> types.Task:
  """Returns the task family of a checked config's pretraining.

  Raises:
    ValueError: see `make_task`.
  """
  return task_registry.make(config.task.name, pretraining_settings(config))


def located(name: str) -> pathlib.Path:
  """Returns the path of a file as it stands, or of one shipped in configs/."""
  path = pathlib.Path(os.path.expanduser(name))
  ours = config_files.folder().parent / name
  return ours if ours.is_file() and not path.is_file() else path
