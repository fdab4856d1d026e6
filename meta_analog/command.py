"""The command line: flags in, one clear line and exit code 2 for a mistake."""

from collections.abc import Callable
import os
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from meta_analog import saved_config
from meta_analog import settings

BAD_INPUT = 2


def define(modes: tuple[str, ...] = ()) -> None:
  """Defines --config, --workdir and, where there are modes, --mode."""
  config_flags.DEFINE_config_file(
      'config', None, 'Config file, with an argument after a colon: '
      'configs/pcm.py:tiny. Fields: --config.seed=3.', lock_config=True)
  flags.DEFINE_string(
      'workdir', None, 'Folder to write into; one under runs/ by default')
  if modes:
    flags.DEFINE_enum('mode', modes[0], modes, 'What to do')


def start(argv: list[str], main: Callable[[list[str]], None]) -> None:
  """Parses the command line and runs main; never returns.

  Args:
    argv: of the process.
    main: called with the arguments that are no flags, of which there are none.
  """
  if {'--help', '-h', '-help'} & set(argv[1:]):
    print(f'{sys.modules["__main__"].__doc__}\n{flags.FLAGS.get_help()}')
    sys.exit(0)
  try:
    rest = flags.FLAGS(_with_saved_config(argv))
    if len(rest) > 1:
      raise settings.InputError(f'unexpected argument {rest[1]!r}')
    if flags.FLAGS.config is None:
      raise settings.InputError(
          '--config is missing: name a file, such as --config configs/pcm.py')
  except Exception as error:  # A config file is code: it may raise anything.
    _refuse(error)
  try:
    main(rest)
  except settings.InputError as error:
    _refuse(error)
  sys.exit(0)


def workdir() -> str:
  """Returns --workdir, or runs/<config>_<argument>."""
  if flags.FLAGS.workdir:
    return flags.FLAGS.workdir
  path, _, argument = config_flags.get_config_filename(
      flags.FLAGS['config']).partition(':')
  name = pathlib.Path(path).stem
  variant = argument.replace(',', '_')
  return os.path.join('runs', f'{name}_{variant}' if variant else name)


def _with_saved_config(argv):
  """Returns argv, with the config of the run where evaluate names none."""
  config = _value(argv, 'config')
  if config is not None and not os.path.isfile(config.partition(':')[0]):
    raise settings.InputError(
        f'--config={config}: there is no file {config.partition(":")[0]}')
  if _value(argv, 'mode') != 'evaluate' or config is not None:
    return argv
  folder = _value(argv, 'workdir')
  if folder is None:
    raise settings.InputError('--mode=evaluate needs --workdir')
  if not (pathlib.Path(folder) / 'config.json').is_file():
    raise settings.InputError(f'{folder} holds no run: no config.json there')
  file = pathlib.Path(saved_config.__file__)
  return [argv[0], f'--config={file}:{folder}', *argv[1:]]


def _value(argv, name):
  """Returns the value of --name=value or --name value, else None."""
  for arg, following in zip(argv[1:], [*argv[2:], None]):
    flag, equals, value = arg.lstrip('-').partition('=')
    if arg.startswith('-') and flag == name:
      return value if equals else following
  return None


def _refuse(error):
  """Prints one line and exits with the code of bad input."""
  text = str(error)
  if 'Traceback' in text:  # of a config file; its last line says what is wrong
    text = text.strip().splitlines()[-1].partition('Error: ')[2] or text
  if isinstance(error, AttributeError) or 'Did you mean' in text:
    text = f'no such config field: {text.strip(chr(34))}'
  text = ' '.join(text.replace(chr(92) + 'n', ' ').split())
  text = text.replace(chr(92), '') or type(error).__name__
  print(f'error: {text}', file=sys.stderr)
  sys.exit(BAD_INPUT)
