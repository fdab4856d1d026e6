"""Command that prints a resolved config.

    python -m meta_analog.config configs/pcm.py:tiny --config.seed=3
"""

import contextlib
import json
import os
import sys

from meta_analog.config import config_files
from meta_analog.core import errors

BAD_INPUT = 2


def main(argv: list[str]) -> int:
  """Prints the config that arguments name, as JSON; returns the exit code.

  Args:
    argv: the program, FILE[:VARIANT,...] or the name of a config of this
      package, and any --config.FIELD=VALUE.

  Returns:
    0, or 2 after one line on stderr where there is no such config.
  """
  if {'--help', '-h'} & {*argv[1:]} or len(argv) < 2:
    print(__doc__)
    return 0 if len(argv) > 1 else BAD_INPUT
  try:
    found = config_files.parse([f'--config={argv[1]}', *argv[2:]])
    if found.rest:
      raise errors.InputError(f'unexpected argument {found.rest[0]!r}')
  except errors.InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return BAD_INPUT
  config = found.config
  try:
    print(json.dumps(json.loads(config.to_json_best_effort()), indent=2),
          flush=True)
  except BrokenPipeError:  # The reader has left; Python flushes once more.
    with contextlib.suppress(OSError):
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv))
