"""The command line: flags in, one clear line and an exit code for what fails.

0 done; 1 the disk failed or what lies on it is damaged; 2 a mistake in what was
written; 3 a loss or a gradient is not finite; 128 + n stopped by signal n, and
saved (130 Ctrl-C, 143 SIGTERM).
"""

from collections.abc import Callable
import contextlib
import logging
import os
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from meta_analog.config import saved
from meta_analog.core import errors
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import signals

BAD_INPUT = 2
STOP = signals.Interrupts()  # the signals of this process


def define(modes: tuple[str, ...] = ()) -> None:
  """Defines --config, --workdir, --cache_dir; with modes --mode and --wandb."""
  config_flags.DEFINE_config_file(
      'config', None, 'Config file, with an argument after a colon: '
      'configs/pcm.py:tiny. Fields: --config.seed=3.', lock_config=True)
  flags.DEFINE_string(
      'workdir', None, 'Folder to write into; one under runs/ by default')
  flags.DEFINE_string(
      'cache_dir', None, 'Folder to keep compiled programs in, so that the '
      'next run begins at once; by default meta_analog/xla under ~/.cache. An '
      'empty one keeps none')
  if modes:
    flags.DEFINE_enum('mode', modes[0], modes, 'What to do')
    flags.DEFINE_string(
        'checkpoint', None, 'File of meta-parameters, such as the '
        'parameters.npz of a run; --mode=evaluate tests it under --config')
    flags.DEFINE_string(
        'wandb', None, 'Project of Weights & Biases to write the metrics to; '
        'without it wandb is never imported')
    flags.DEFINE_string(
        'coordinator', None, 'HOST:PORT of process 0, for a run of several '
        'processes')
    flags.DEFINE_integer('num_processes', None, 'Processes of the run')
    flags.DEFINE_integer(
        'process_id', None, 'Which of them this is; 0 writes')


def start(
    argv: list[str], main: Callable[[list[str]], None],
    config: str | None = None
) -> None:
  """Parses the command line and runs main; never returns.

  Args:
    argv: of the process.
    main: called with the arguments that are no flags, of which there are none.
    config: the file where --config names none.
  """
  if {'--help', '-h', '-help'} & set(argv[1:]):
    print(f'{sys.modules["__main__"].__doc__}\n{flags.FLAGS.get_help()}')
    sys.exit(0)
  if config is not None and _value(argv, 'config') is None:
    argv = [argv[0], f'--config={config}', *argv[1:]]
  try:
    rest = flags.FLAGS(_with_saved_config(argv))
    if len(rest) > 1:
      raise errors.InputError(f'unexpected argument {rest[1]!r}')
    if flags.FLAGS.config is None:
      raise errors.InputError(
          '--config is missing: name a file, such as --config configs/pcm.py')
  except errors.RunError as error:
    signals.leave(error.exit_code, f'error: {_one_line(error)}')
  except Exception as error:  # A config file is code: it may raise anything.
    _refuse(error)
  for name in ('absl', 'asyncio'):  # Orbax logs what it raises as well.
    logging.getLogger(name).setLevel(logging.CRITICAL)
  STOP.listen()
  try:
    main(rest)
  except errors.InputError as error:
    _refuse(error)
  except errors.Interrupted as error:
    signals.leave(error.exit_code, str(error))
  except errors.RunError as error:
    signals.leave(error.exit_code, f'error: {_one_line(error)}')
  except OSError as error:
    where = f'{error.filename}: ' if error.filename else ''
    signals.leave(errors.StorageError.exit_code,
                  f'error: {where}{errors.reason(error)}')
  signals.leave(0)


def overrides() -> dict[str, str]:
  """Returns the config's file and what the command line changed in it."""
  flag = flags.FLAGS['config']
  changed = config_flags.get_override_values(flag)
  return {'file': config_flags.get_config_filename(flag)} | {
      name: str(value) for name, value in sorted(changed.items())}


def workdir() -> str:
  """Returns --workdir, or runs/<config>_<argument>[_<checkpoint>]."""
  if flags.FLAGS.workdir:
    return flags.FLAGS.workdir
  path, _, argument = config_flags.get_config_filename(
      flags.FLAGS['config']).partition(':')
  name = pathlib.Path(path).stem
  checkpoint = getattr(flags.FLAGS, 'checkpoint', None)
  parts = [name, argument.replace(',', '_'),
           f'test_of_{pathlib.Path(checkpoint).stem}' if checkpoint else '']
  return os.path.join('runs', '_'.join(filter(None, parts)))


def joined() -> contextlib.AbstractContextManager[None]:
  """Returns `distributed.joined` for this command line."""
  values = flags.FLAGS
  asked = {'config': workdir_lib.as_json(values.config), 'mode': values.mode,
           'versions': environment.versions()}
  return distributed.joined(
      values.coordinator, values.num_processes, values.process_id, asked, STOP)


def _with_saved_config(argv):
  """Returns argv, with the config of the run where evaluate names none."""
  config = _value(argv, 'config')
  if config is not None and not os.path.isfile(config.partition(':')[0]):
    raise errors.InputError(
        f'--config={config}: there is no file {config.partition(":")[0]}')
  mode = _value(argv, 'mode')
  if mode in (None, 'train') or config is not None:
    return argv
  folder = _value(argv, 'workdir')
  if folder is None:
    raise errors.InputError(f'--mode={mode} needs --workdir')
  if not (pathlib.Path(folder) / 'config.json').is_file():
    raise errors.InputError(f'{folder} holds no run: no config.json there')
  file = pathlib.Path(saved.__file__)
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
  text = _one_line(text) or type(error).__name__
  signals.leave(BAD_INPUT, f'error: {text}')


def _one_line(text):
  """Returns a text without line breaks, also escaped ones."""
  text = ' '.join(str(text).replace(chr(92) + 'n', ' ').split())
  return text.replace(chr(92), '')
