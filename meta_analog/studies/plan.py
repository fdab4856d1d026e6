"""What a grid declares: its cases times its seeds, each a job with its config.

A case is trained, from a config with some fields changed, or it tests the nets
of a trained case once more under other conditions. What a job's process will be
told is read here by the same parser, so that a mistake ends in one line before
anything runs.
"""

import difflib
import os
import pathlib
import re
from typing import Any
from typing import NamedTuple

from absl import flags
import ml_collections
from ml_collections import config_flags

from meta_analog.config import validation
from meta_analog.core import errors

ROOT = pathlib.Path(__file__).parents[2]
PARAMS = ('trained', 'initial')
FIELDS = {'name', 'label', 'group', 'config', 'overrides', 'wanted', 'of',
          'params'}


class Case(NamedTuple):
  """One row of the table."""

  name: str  # also of its folder
  label: str
  group: str
  config: str  # file and argument, of a trained case
  overrides: dict[str, Any]  # dotted field: value
  wanted: dict[str, float]  # seconds of the test, in digits: score
  of: str = ''  # trained case whose nets are tested
  params: str = 'trained'  # or 'initial': as they were before meta-training


class Job(NamedTuple):
  """One case with one seed."""

  name: str  # 'pcm/seed=0'
  case: Case
  seed: int
  needs: str | None  # job that must be finished
  folder: pathlib.Path
  flags: tuple[str, ...]  # that name the config
  config: ml_collections.ConfigDict  # what they name


class Plan(NamedTuple):
  """A checked grid."""

  seeds: tuple[int, ...]
  times_s: tuple[float, ...]  # columns of the table
  cases: tuple[Case, ...]
  jobs: tuple[Job, ...]  # the first seed of all cases first
  references: tuple[dict[str, Any], ...]


def make(
    config: ml_collections.ConfigDict, folder: pathlib.Path
) -> Plan:
  """Returns the plan that a config declares.

  Args:
    config: of a grid, such as configs/studies/sinusoid.py.
    folder: of the grid.

  Returns:
    A `Plan`.

  Raises:
    settings.InputError: in one line, if the grid or the config of a job cannot
      be.
  """
  if 'cases' not in config or 'seeds' not in config:
    raise errors.InputError(
        'this config declares no cases and seeds: name that of a grid, such as '
        '--config configs/studies/sinusoid.py, or train one run by '
        'launch/main.py')
  seeds = tuple(config.seeds)
  if not seeds or len(set(seeds)) < len(seeds) or any(
      isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
    raise errors.InputError(f'config.seeds = {seeds}: must be whole numbers '
                            'that differ, at least one')
  cases = tuple(_case(values) for values in config.cases)
  _check_names(cases)
  jobs = tuple(_job(cases, case, seed, folder)
               for seed in seeds for case in cases)
  return Plan(seeds, tuple(config.times_s), cases, jobs,
              tuple(dict(row) for row in config.references))


def trained_folder(folder: pathlib.Path, case: str, seed: int) -> pathlib.Path:
  """Returns the folder of a trained case's run."""
  return folder / 'runs' / case / f'seed={seed}'


def parse(arguments: tuple[str, ...]) -> ml_collections.ConfigDict:
  """Returns the config that flags name, as launch/main.py reads them.

  Args:
    arguments: '--config=FILE:ARGUMENT', then any '--config.FIELD=VALUE'.

  Raises:
    Exception: whatever a config file raises, and what the parser does.
  """
  values, argv = flags.FlagValues(), ['grid', *arguments]
  config_flags.DEFINE_config_file(
      'config', None, '', flag_values=values, lock_config=True, sys_argv=argv)
  values(argv)
  return values.config


def _case(values):
  """Returns a case with its defaults; raises InputError."""
  name = values.get('name', '')
  if not isinstance(name, str) or not re.fullmatch(r'[\w.=+-]+', name):
    raise errors.InputError(
        f'a case is named {name!r}: must be letters, digits and any of _.=+-')
  unknown = sorted(values.keys() - FIELDS)
  if unknown:
    raise errors.InputError(
        f'case {name!r}: {unknown[0]!r} is none of {", ".join(sorted(FIELDS))}')
  case = Case(**{'label': name, 'group': '', 'config': '', 'overrides': {},
                 'wanted': {}} | dict(values))
  if case.params not in PARAMS:
    raise errors.InputError(
        f'case {name!r}: params = {case.params!r}: must be one of {PARAMS}')
  if bool(case.of) == bool(case.config):
    raise errors.InputError(
        f'case {name!r}: must name either a config to train or, by of, a case '
        'whose nets are tested')
  return case


def _check_names(cases):
  """Raises InputError where a name is taken or names nothing."""
  names = [case.name for case in cases]
  if not names:
    raise errors.InputError('config.cases = (): must hold at least one case')
  for name in names:
    if names.count(name) > 1:
      raise errors.InputError(f'two cases are named {name!r}')
  trained = [case.name for case in cases if not case.of]
  for case in cases:
    if case.of and case.of not in trained:
      raise errors.InputError(
          f'case {case.name!r}: of = {case.of!r} is no trained case'
          f'{close_to(case.of, trained)}')


def close_to(name: str, known: list[str]) -> str:
  """Returns '; did you mean ...?', or what there is."""
  near = difflib.get_close_matches(name, known, 1)
  return f'; did you mean {near[0]!r}?' if near else (
      f': must be one of {", ".join(known)}')


def _job(cases, case, seed, folder):
  """Returns the job of a case and a seed; raises InputError."""
  named = {other.name: other for other in cases}
  source = named.get(case.of, case)
  changes = source.overrides | (case.overrides if case.of else {})
  arguments = (f'--config={_located(case, source.config)}',
               *(f'--config.{field}={value}'
                 for field, value in changes.items()),
               f'--config.seed={seed}')
  kind = 'tests' if case.of else 'runs'
  return Job(
      name=f'{case.name}/seed={seed}', case=case, seed=seed,
      needs=(f'{case.of}/seed={seed}'
             if case.of and case.params == 'trained' else None),
      folder=folder / kind / case.name / f'seed={seed}', flags=arguments,
      config=_checked(case, arguments))


def _located(case, config):
  """Returns a config's file and argument, found here or beside this code."""
  path, colon, argument = config.partition(':')
  for root in (pathlib.Path(), ROOT):
    if (root / path).is_file():
      return f'{os.path.normpath(root / path)}{colon}{argument}'
  raise errors.InputError(
      f'case {case.name!r}: there is no file {path}')


def _checked(case, arguments):
  """Returns the job's config; raises InputError that names the case."""
  try:
    config = parse(arguments)
    validation.check(config)
  except Exception as error:  # A config file is code: it may raise anything.
    raise errors.InputError(
        f'case {case.name!r}: {_in_a_line(error)}') from None
  return config


def _in_a_line(error):
  """Returns what is wrong, without the way that led there."""
  lines = str(error).strip().replace('\\n', '\n').splitlines() or [
      type(error).__name__]
  if 'Traceback (most recent call last):' in lines:
    return re.sub(r'^\w+Error: ', '', lines[-1])
  text = ' '.join(' '.join(lines).split())
  if isinstance(error, AttributeError) or 'Did you mean' in text:
    return f'no such config field: {text.strip(chr(34))}'
  return text
