"""Config files: found by path or by name, loaded, overridden by flags.

A config file is Python with a function `get_config(argument='')`. It is named
by its path, or where it is one of this package's by its name, with an argument
after a colon: `my/net.py`, `configs/pcm.py:tiny`, `pcm:tiny`. A file of one's
own can build upon this package's: `from configs import pcm`.
"""

from collections.abc import Sequence
import difflib
import importlib.util
import os
import pathlib
import re
import sys
from typing import Any
from typing import NamedTuple

from absl import flags
import ml_collections
from ml_collections import config_flags

from meta_analog.config import defaults
from meta_analog.core import errors

PACKAGE = pathlib.Path(__file__).parents[1]
FLAG = re.compile(r'--?config(?:=(.*))?$', re.DOTALL)
FIELD = re.compile(r'--?config\.([\w.]+)')
# What a parser of Python says: what it means.
PLAIN = {r"invalid literal for int\(\) with base 10: .*":
             'must be a whole number',
         r'could not convert string to float: .*': 'must be a number',
         r'\(.Non-boolean argument to boolean flag., .*\)':
             'must be true or false',
         r'ERROR:: Unable to open flagfile: \[Errno \d+\] (.*): (.*)':
             r'--flagfile=\2: \1'}


class Overridden(NamedTuple):
  """A config with what the command line changed in it."""

  config: ml_collections.ConfigDict  # locked
  name: str  # of the file, as it was given, with its argument
  overrides: dict[str, Any]  # dotted field: value
  rest: list[str]  # arguments that are no flags


def folder() -> pathlib.Path:
  """Returns the folder of this package's config files."""
  installed = PACKAGE / 'configs'
  return installed if installed.is_dir() else PACKAGE.parent / 'configs'


def names() -> dict[str, pathlib.Path]:
  """Returns this package's config files by name, such as 'studies/sinusoid'."""
  ours = folder()
  return {path.relative_to(ours).with_suffix('').as_posix(): path
          for path in sorted(ours.glob('**/*.py'))
          if path.name != '__init__.py'}


def find(name: str) -> tuple[pathlib.Path, str]:
  """Returns the file that a name means, and its argument.

  A file at that path comes first; then, from any folder, one of this package's,
  with or without 'configs/' and '.py'.

  Args:
    name: as on the command line; a leading ~ is the home folder.

  Raises:
    InputError: if there is none.
  """
  text, _, argument = name.partition(':')
  path = pathlib.Path(os.path.expanduser(text))
  if path.is_file():
    return path, argument
  known = names()
  key = path.as_posix().removeprefix('configs/').removesuffix('.py')
  if key not in known:
    near = difflib.get_close_matches(key, known, 1)
    raise errors.InputError(
        f'--config={name}: there is no file {text}'
        + (f'; did you mean {near[0]}?' if near else
           f', and no config of that name: {", ".join(known)}'))
  return known[key], argument


def load(name: str) -> ml_collections.ConfigDict:
  """Returns the config that a name means.

  Args:
    name: see `find`.

  Raises:
    InputError: if there is no such file, or in one line what it raises.
  """
  path, argument = find(name)
  try:
    get_config = getattr(_module(path), 'get_config', None)
    if not callable(get_config):
      raise errors.InputError('it has no function get_config')
    config = get_config(argument) if argument else get_config()
  except KeyboardInterrupt:
    raise
  except BaseException as error:  # A config file is code.
    kind = ('' if isinstance(error, ValueError) else
            f'{type(error).__name__}: ')
    hint = ''
    if ':' in argument and 'commas' not in str(error):
      text, _, _ = name.partition(':')
      hint = (': use commas between variants, as in '
              f'{text}:{argument.replace(":", ",")}')
    raise errors.InputError(
        f'--config={name}: {kind}{in_a_line(error)}{hint}') from None
  if not isinstance(config, ml_collections.ConfigDict):
    raise errors.InputError(f'--config={name}: get_config returns '
                            f'{config!r:.60}, which is no ConfigDict')
  return config


def parse(
    arguments: Sequence[str], values: flags.FlagValues | None = None,
    default: str | ml_collections.ConfigDict | None = None
) -> Overridden:
  """Returns the config that flags name, with the fields that flags change.

  Args:
    arguments: '--config=NAME', any '--config.FIELD=VALUE', and the flags of
      `values`.
    values: other flags, which receive their values.
    default: name of the config where none is given, or a config.

  Raises:
    InputError: in one line, if a flag or the config cannot be.
  """
  values = flags.FlagValues() if values is None else values
  name, argv = split(arguments)
  if name is None and default is None:
    raise errors.InputError('--config is missing: name a file, or one of '
                            f'{", ".join(names())}')
  if name is None and isinstance(default, str):
    name = default
  config = default if name is None else load(name)
  for argument in argv:
    match = FIELD.match(argument)
    if match:
      _check_field(config, match[1])
  try:
    config_flags.DEFINE_config_dict(
        'config', config, 'Config', flag_values=values, sys_argv=argv)
    rest = values(argv)
  except Exception as error:  # absl and its parsers raise what they like
    raise errors.InputError(in_a_line(error)) from None
  return Overridden(values.config, name or '',
                    config_flags.get_override_values(values['config']),
                    rest[1:])


def split(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
  """Returns the last --config, and all other arguments after a program's name.

  Args:
    arguments: without the program's name; a --flagfile is read.

  Raises:
    InputError: if --config has no value, or a flag file cannot be read.
  """
  try:
    found = flags.FlagValues().read_flags_from_files(
        list(arguments), force_gnu=False)
  except Exception as error:
    raise errors.InputError(in_a_line(error)) from None
  name, others, words = None, ['meta-analog'], iter(found)
  for word in words:
    match = FLAG.match(word)
    if word == '--':
      others += [word, *words]
    elif match:
      name = next(words, None) if match[1] is None else match[1]
      if not name:
        raise errors.InputError('--config needs a value: name a file, or one '
                                f'of {", ".join(names())}')
    else:
      others.append(word)
  return name, others


def in_a_line(error: BaseException) -> str:
  """Returns what an exception says, in a line and in plain words."""
  text = ' '.join(str(error).split()) or type(error).__name__
  for pattern, plain in PLAIN.items():
    text = re.sub(pattern, plain, text)
  return text


def _module(path):
  """Returns a file as a module."""
  name = f'meta_analog_config_{path.stem}'
  spec = importlib.util.spec_from_file_location(name, path)
  if spec is None:
    raise errors.InputError('it is no Python file: name one that ends in .py')
  _offer_ours()
  return _loaded(spec)


def _offer_ours():
  """Lets a config file import this package's, from anywhere, as `configs`."""
  if 'configs' in sys.modules or importlib.util.find_spec('configs'):
    return
  _loaded(importlib.util.spec_from_file_location(
      'configs', folder() / '__init__.py',
      submodule_search_locations=[str(folder())]))


def _loaded(spec):
  """Returns a module that was not imported before."""
  module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _check_field(config, field):
  """Raises InputError where a config has no such field."""
  value = config
  for part in field.split('.'):
    if not isinstance(value, ml_collections.ConfigDict) or part not in value:
      break
    value = value[part]
  else:
    return
  known = list(defaults.flat(config))
  last = field.rpartition('.')[2]
  near = difflib.get_close_matches(field, known, 1) or [
      name for name in known if name.rpartition('.')[2] == last]
  raise errors.InputError(
      f'--config.{field}: no such config field'
      + (f'; did you mean {near[0]}?' if near else ''))
