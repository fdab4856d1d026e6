"""Command that prints a resolved config.

    python -m meta_analog.config configs/pcm.py:tiny --config.seed=3
"""

import json
import pathlib
import sys

from absl import flags
import ml_collections
from ml_collections import config_flags

from meta_analog.config import checks

BAD_INPUT = 2


def main(argv: list[str]) -> int:
  """Prints the config that arguments name, as JSON; returns the exit code.

  Args:
    argv: the program, FILE[:VARIANT,...], and any --config.FIELD=VALUE.

  Returns:
    0, or 2 after one line on stderr where there is no such config.
  """
  if {'--help', '-h'} & {*argv[1:]} or len(argv) < 2:
    print(__doc__)
    return 0 if len(argv) > 1 else BAD_INPUT
  try:
    config = parse(argv[1], argv[2:])
  except Exception as error:  # A config file is code: it may raise anything.
    print(f'error: {checks.in_one_line(error)}', file=sys.stderr)
    return BAD_INPUT
  print(json.dumps(json.loads(config.to_json_best_effort()), indent=2))
  return 0


def parse(name: str, changes: list[str]) -> ml_collections.ConfigDict:
  """Returns the config of a file, changed as on the command line of a run.

  Args:
    name: FILE or FILE:VARIANT,...
    changes: '--config.FIELD=VALUE' each.

  Raises:
    Exception: whatever the file raises, and what the parser does.
  """
  path = name.partition(':')[0]
  if not pathlib.Path(path).is_file():
    raise ValueError(f'{name}: there is no file {path}')
  values, argv = flags.FlagValues(), ['config', f'--config={name}', *changes]
  config_flags.DEFINE_config_file(
      'config', None, '', flag_values=values, lock_config=True, sys_argv=argv)
  rest = values(argv)
  if len(rest) > 1:
    raise ValueError(f'unexpected argument {rest[1]!r}')
  return values.config


if __name__ == '__main__':
  sys.exit(main(sys.argv))
