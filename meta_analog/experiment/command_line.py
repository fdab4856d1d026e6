"""Command line: flags, errors in one line, exit codes.

0 done; 1 the disk failed or what lies on it is damaged; 2 a mistake in what was
written; 3 a loss or a gradient is not finite; 128 + n stopped by signal n, and
saved (130 Ctrl-C, 143 SIGTERM).
"""

from collections.abc import Callable
from collections.abc import Sequence
import json
import logging
import os
import pathlib
import shutil
import textwrap
from typing import Any
from typing import NamedTuple

from absl import flags
import ml_collections

from meta_analog.config import config_files
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir as workdir_lib
from meta_analog.runtime import distributed
from meta_analog.runtime import environment
from meta_analog.runtime import signals

STOP = signals.StopRequest()  # the signals of this process
MAX_COLUMNS = 80
VALUES = {'workdir': 'FOLDER', 'cache_dir': 'FOLDER', 'checkpoint': 'FILE',
          'source': 'RUN|FILE', 'wandb': 'PROJECT', 'coordinator': 'HOST:PORT',
          'scheduler': 'HOST:PORT', 'seeds': 'N,N,...',
          'axis': 'FIELD=VALUE,...'}
# In these ~ is the home folder.
PATHS = ('workdir', 'cache_dir', 'checkpoint', 'source')


class Arguments(NamedTuple):
  """A parsed command line."""

  config: ml_collections.ConfigDict
  file: str  # --config as it was given, or where the config comes from
  overrides: dict[str, Any]  # dotted field of the config: value
  flags: flags.FlagValues

  @property
  def record(self) -> dict[str, str]:
    """The config's file and what was changed in it, for run.json."""
    return {'file': self.file} | {
        name: str(value) for name, value in sorted(self.overrides.items())}

  @property
  def source(self) -> str | None:
    """--source or, as another name, --checkpoint."""
    return getattr(self.flags, 'source', None) or getattr(
        self.flags, 'checkpoint', None)

  @property
  def workdir(self) -> str:
    """--workdir, or runs/<config>_<argument>[_<source>]."""
    if self.flags.workdir:
      return self.flags.workdir
    path, _, argument = self.file.partition(':')
    parts = [pathlib.Path(path).stem, argument.replace(',', '_'),
             f'test_of_{pathlib.Path(self.source).stem}' if self.source else '']
    return os.path.join('runs', '_'.join(filter(None, parts)))


def define(values: flags.FlagValues) -> None:
  """Defines --workdir and --cache_dir; --config is known to `parse`."""
  flags.DEFINE_string(
      'workdir', None, 'Folder to write into; by default one under runs/',
      flag_values=values)
  flags.DEFINE_string(
      'cache_dir', None, 'Folder to keep compiled programs in, so that the '
      'next run begins at once; by default meta_analog/xla under ~/.cache. An '
      'empty one keeps none', flag_values=values)


def define_run(
    values: flags.FlagValues, modes: tuple[str, ...], mode: str
) -> None:
  """Defines the flags of a run beside those of `define`.

  Args:
    values: that the flags are added to.
    modes: what --mode may be.
    mode: what it is by default.
  """
  flags.DEFINE_enum('mode', mode, modes, 'What to do', flag_values=values)
  flags.DEFINE_string(
      'source', None, 'Folder of a run, .npz file of parameters, or initial '
      '(untrained), to evaluate into --workdir; by default the run there',
      flag_values=values)
  flags.DEFINE_string(
      'checkpoint', None, 'Another name of --source, for a file',
      flag_values=values)
  flags.DEFINE_string(
      'wandb', None, 'Project of Weights & Biases to write the metrics to',
      flag_values=values)
  flags.DEFINE_string(
      'coordinator', None, 'HOST:PORT of process 0, for a run of several '
      'processes', flag_values=values)
  flags.DEFINE_integer(
      'num_processes', None, 'Processes of the run', flag_values=values)
  flags.DEFINE_integer(
      'process_id', None, 'Which of them this is; 0 writes',
      flag_values=values)
  flags.DEFINE_bool(
      'distributed', False, 'Let jax find the last three by the scheduler of a '
      'cluster, such as Slurm', flag_values=values)


def start(
    argv: Sequence[str], values: flags.FlagValues,
    main: Callable[[Arguments], None], *, default: str | None = None
) -> None:
  """Parses a command line and runs main; never returns.

  Args:
    argv: arguments, without the program's name.
    values: flags, defined.
    main: called with what was parsed.
    default: name of the config where none is given.
  """
  try:
    arguments = parse(argv, values, default)
  except errors.RunError as error:
    signals.exit_process(
        error.exit_code, f'error: {config_files.in_a_line(error)}')
  except errors.InputError as error:
    refuse(error)
  for name in ('absl', 'asyncio'):  # Orbax logs what it raises as well.
    logging.getLogger(name).setLevel(logging.CRITICAL)
  STOP.listen()
  try:
    main(arguments)
  except errors.InputError as error:
    refuse(error)
  except errors.Interrupted as error:
    signals.exit_process(error.exit_code, str(error))
  except errors.RunError as error:
    signals.exit_process(
        error.exit_code, f'error: {config_files.in_a_line(error)}')
  except OSError as error:
    where = f'{error.filename}: ' if error.filename else ''
    signals.exit_process(errors.StorageError.exit_code,
                  f'error: {where}{errors.reason(error)}')
  except Exception as error:
    if not distributed.is_of_another(error):
      raise
    signals.exit_process(1, f'error: another process has ended; {STOP.advice} '
                  f'({errors.reason(error)})')
  signals.exit_process(0)


def parse(
    argv: Sequence[str], values: flags.FlagValues, default: str | None = None
) -> Arguments:
  """Returns a parsed command line.

  Args:
    argv: arguments, without the program's name.
    values: flags, defined.
    default: name of the config where none is given.

  Raises:
    InputError: in one line, if it cannot be.
  """
  name, words = config_files.split(argv)
  if name is None:
    default = _saved_config(words, values) or default
  parsed = config_files.parse(argv, values, default)
  if parsed.rest:
    raise errors.InputError(f'unexpected argument {parsed.rest[0]!r}')
  for path in PATHS:
    if path in values and values[path].value:
      values[path].value = str(workdir_lib.expanded(values[path].value))
  saved = getattr(values, 'source', None) or values.workdir
  found = Arguments(parsed.config, parsed.name or f'{saved}/'
                    f'{workdir_lib.CONFIG}', parsed.overrides, values)
  _check_source(found)
  return found


def connect(arguments: Arguments) -> None:
  """Makes this process one of several, as a command line says.

  Args:
    arguments: parsed.

  Raises:
    InputError: see `distributed.initialize`, or if the processes were not asked
      for the same.
  """
  values = arguments.flags
  distributed.initialize(values.coordinator, values.num_processes,
                         values.process_id, values.distributed)
  request = {'config': workdir_lib.as_json(arguments.config),
           'mode': values.mode, 'source': arguments.source,
           'versions': environment.versions()}
  first, *others = map(json.loads, distributed.gather(
      json.dumps(request).encode()))
  for number, other in enumerate(others, 1):
    differ = sorted(workdir_lib.differences(first, other))
    if differ:
      raise errors.InputError(
          f'process {number} differs from process 0 in {", ".join(differ)}: '
          'all need the same arguments and versions')


def flags_help(values: flags.FlagValues) -> str:
  """Returns the flags with what they do, for a terminal of 80 columns.

  Args:
    values: flags, defined, without --config.
  """
  entries = [
      ('--config=FILE[:VARIANTS]', 'Config file, or the name of one that comes '
       f'with this package: {", ".join(config_files.names())}. With variants '
       'after a colon: pcm:tiny'),
      ('--config.FIELD=VALUE', 'Changes a field: --config.seed=3')]
  for name in values:
    flag = values[name]
    choices = getattr(flag.parser, 'enum_values', None)
    kind = '' if flag.boolean else '=' + (
        '|'.join(choices) if choices else VALUES.get(name, 'N'))
    text = flag.help.rpartition('>: ')[2] if choices else flag.help
    default = '' if flag.default in (None, False, '') else (
        f'; by default {flag.default}')
    entries.append((f'--{name}{kind}', f'{text}{default}'))
  columns = min(MAX_COLUMNS, shutil.get_terminal_size().columns) - 1
  wrap = lambda text: textwrap.fill(
      text, columns, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
  return '\n'.join(f'  {flag}\n{wrap(text)}' for flag, text in entries)


def refuse(error: BaseException) -> None:
  """Prints one line and exits with the code of bad input."""
  signals.exit_process(2, f'error: {config_files.in_a_line(error)}')


def _check_source(arguments):
  """Raises InputError where --source or --checkpoint cannot be."""
  values = arguments.flags
  if 'mode' not in values or arguments.source is None:
    return
  if values.source and values.checkpoint:
    raise errors.InputError(
        '--checkpoint is another name of --source: give one of them')
  if values.mode != 'evaluate' or (
      values.checkpoint and not values.checkpoint.endswith('.npz')):
    name = 'source' if values.source else 'checkpoint'
    kind = '' if values.source else 'a .npz file of meta-parameters, and '
    raise errors.InputError(
        f'--{name}={arguments.source}: takes {kind}--mode=evaluate')


def _saved_config(argv, values):
  """Returns the config of the run in --source or --workdir, where one is."""
  if 'mode' not in values:
    return None
  mode = _value(argv, 'mode') or values['mode'].default
  modes = values['mode'].parser.enum_values
  if mode not in modes:
    raise errors.InputError(
        f'--mode={mode}: must be one of {", ".join(modes)}')
  if mode == 'train':
    return None
  source = _value(argv, 'source') or _value(argv, 'checkpoint')
  if source is not None and (source == evaluate.INITIAL
                             or source.endswith('.npz')):
    raise errors.InputError(f'--source={source} needs --config')
  folder = source or _value(argv, 'workdir')
  if folder is None:
    raise errors.InputError(f'--mode={mode} needs --workdir')
  folder = workdir_lib.expanded(folder)
  if not (folder / workdir_lib.CONFIG).is_file():
    raise errors.InputError(f'{folder} holds no run: no config.json there')
  return saved_config.get_config(str(folder))


def _value(argv, name):
  """Returns the value of --name=value or --name value, else None."""
  for arg, following in zip(argv[1:], [*argv[2:], None]):
    flag, equals, value = arg.lstrip('-').partition('=')
    if arg.startswith('-') and flag == name:
      return value if equals else following
  return None
