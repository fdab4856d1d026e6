"""The folder that a command writes into, and what a number may depend on."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax

from meta_analog import settings


def check_writable(folder: pathlib.Path) -> None:
  """Makes the folder, with its parents.

  Args:
    folder: to be written into.

  Raises:
    settings.InputError: if it is a file or nothing can be written there.
  """
  try:
    if folder.exists() and not folder.is_dir():
      raise settings.InputError(f'workdir {folder} is a file: name a folder')
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / '.writable'
    probe.touch()
    probe.unlink()
  except OSError as error:
    raise settings.InputError(
        f'workdir {folder} cannot be written: {error.strerror}') from None


def environment() -> dict[str, Any]:
  """Returns the versions, the platform and the commit of this process."""
  try:
    commit = subprocess.run(
        ['git', 'rev-parse', 'HEAD'], cwd=pathlib.Path(__file__).parent,
        capture_output=True, text=True, check=False).stdout.strip()
  except OSError:  # no git on this machine
    commit = ''
  return {'jax': jax.__version__, 'python': sys.version.split()[0],
          'platform': jax.default_backend(), 'devices': jax.device_count(),
          'commit': commit or None}


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file whole or not at all.

  Args:
    path: of the file.
    value: what `json` can write.
  """
  partial = path.with_suffix('.partial')
  partial.write_text(json.dumps(value, indent=2) + '\n')
  os.replace(partial, path)
