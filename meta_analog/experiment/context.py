"""Context of one command: what it works on, where it writes and prints."""

import pathlib
from typing import Any
from typing import NamedTuple

import ml_collections

from meta_analog.reporting import terminal
from meta_analog.runtime import signals


class Context(NamedTuple):
  """Values that the parts of one command share."""

  config: ml_collections.ConfigDict
  folder: pathlib.Path
  console: terminal.Console
  stop: signals.StopRequest
  record: dict[str, Any]  # of the environment and what was asked for
  wandb: str | None  # project

  def log(self, text: Any) -> None:
    """Prints a line or a table."""
    self.console.print(text)
