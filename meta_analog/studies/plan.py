"""Plan of a study: its rows times its seeds, each a run with its config.

A row is trained, from a config with some fields changed, or it evaluates the
nets of a trained row under other conditions. The flags of a run's process are
parsed here by the parser of that process, so that a mistake ends in one line
before anything runs.
"""

from collections.abc import Sequence
import difflib
import pathlib
import re
from typing import Any
from typing import NamedTuple

import ml_collections

from meta_analog.config import config_files
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.studies import axes as axes_lib

PARAMS = ('trained', 'initial')
FIELDS = {'name', 'label', 'group', 'config', 'overrides', 'required', 'axis',
          'source', 'params'}


class Row(NamedTuple):
  """One row of the table."""

  name: str  # also of its folder
  label: str
  group: str
  config: str  # file and argument, of a trained row
  overrides: dict[str, Any]  # dotted field: value
  required: dict[str, float]  # seconds of the test, in digits: score
  axis: dict[str, str]  # {field: value} that it stands for, see `axes`
  source: str = ''  # trained row whose nets are evaluated
  # Or 'initial', as they were before meta-training; or a run, or file of
  # meta-parameters, that is evaluated under `config`.
  params: str = 'trained'

  @property
  def is_evaluated(self) -> bool:
    """Whether the row trains nothing."""
    return bool(self.source) or self.params not in PARAMS


class Run(NamedTuple):
  """One row with one seed."""

  name: str  # 'pcm/seed=0'
  row: Row
  seed: int
  needs: str | None  # run that must be finished
  folder: pathlib.Path
  flags: tuple[str, ...]  # that name the config
  config: ml_collections.ConfigDict  # what they name


class Plan(NamedTuple):
  """A checked study."""

  seeds: tuple[int, ...]
  times_s: tuple[float, ...]  # columns of the table
  rows: tuple[Row, ...]
  runs: tuple[Run, ...]  # the first seed of all rows first
  references: tuple[dict[str, Any], ...]
  axes: tuple[axes_lib.Axis, ...] = ()


def make(
    config: ml_collections.ConfigDict, folder: pathlib.Path,
    overrides: dict[str, str] | None = None,
    seeds: tuple[int, ...] | None = None,
    axes: tuple[axes_lib.Axis, ...] = (), source: str = '', *,
    train_anew: bool = False
) -> Plan:
  """Returns the plan of a study, or of a run config with several seeds.

  Args:
    config: of a study, such as configs/studies/sinusoid.py, or of a run.
    folder: of the study.
    overrides: of the config of a run: its 'file', and the fields that were
      changed in it. They become the only row.
    seeds: of every row; None: those of the study, or that of the run.
    axes: fields of the run's config and their values, see `axes.rows`.
    source: see `axes.rows`.
    train_anew: see `axes.rows`.

  Returns:
    A `Plan`.

  Raises:
    InputError: in one line, if the study or the config of a run cannot be.
  """
  if 'network' in config and overrides:
    config = _of_run_config(config, overrides)
    config.rows = axes_lib.rows(
        config.rows[0], axes, source, train_anew=train_anew)
  elif axes or source or train_anew:
    raise errors.InputError('--axis, --source and --train_anew: need the '
                            'config of a run, such as --config configs/pcm.py')
  if 'rows' not in config or 'seeds' not in config:
    raise errors.InputError(
        'this config declares no rows and seeds: name that of a study, such as '
        '--config configs/studies/sinusoid.py, or that of a run')
  seeds = tuple(config.seeds if seeds is None else seeds)
  if not seeds or len(set(seeds)) < len(seeds) or any(
      isinstance(seed, bool) or not isinstance(seed, int) for seed in seeds):
    raise errors.InputError(
        f'seeds = {seeds}: must be whole numbers that differ, at least one')
  rows = tuple(_row(values) for values in config.rows)
  _check_names(rows)
  runs = tuple(_run(rows, row, seed, folder) for seed in seeds for row in rows)
  return Plan(seeds, tuple(config.times_s), rows, runs,
              tuple(dict(row) for row in config.references), axes)


def _of_run_config(config, overrides):
  """Returns the study of one row that a run's config stands for."""
  file = overrides['file']
  path, _, argument = file.partition(':')
  words = (pathlib.Path(path).stem, *argument.split(','))
  changes = {field: value for field, value in overrides.items()
             if field not in ('file', 'seed')}
  test = config.evaluation
  out = ml_collections.ConfigDict()
  out.seeds, out.references = (config.seed,), ()
  out.times_s = (test.t_test_s,
                 *(time for time in test.after_s if time != test.t_test_s))
  out.rows = ({'name': '_'.join(filter(None, words)), 'config': file,
               'overrides': changes},)
  return out


def seeds_of(words: Sequence[str] | None) -> tuple[int, ...] | None:
  """Returns the seeds that --seeds names, None where it is not given.

  Args:
    words: of the flag.

  Raises:
    InputError: if one is no whole number.
  """
  if not all(word.isdecimal() for word in words or ()):
    raise errors.InputError(
        f'--seeds={",".join(words)}: must be whole numbers, such as 0,1,2')
  return None if words is None else tuple(map(int, words))


def trained_folder(folder: pathlib.Path, row: str, seed: int) -> pathlib.Path:
  """Returns the folder of a trained row's run."""
  return folder / 'runs' / row / f'seed={seed}'


def _row(values):
  """Returns a row with its defaults; raises InputError."""
  name = values.get('name', '')
  if not isinstance(name, str) or not re.fullmatch(r'[\w.=+-]+', name):
    raise errors.InputError(
        f'a row is named {name!r}: must be letters, digits and any of _.=+-')
  unknown = sorted(values.keys() - FIELDS)
  if unknown:
    raise errors.InputError(
        f'row {name!r}: {unknown[0]!r} is none of {", ".join(sorted(FIELDS))}')
  row = Row(**{'label': name, 'group': '', 'config': '', 'overrides': {},
               'required': {}, 'axis': {}} | dict(values))
  if row.params not in PARAMS:
    _check_params(row)
  if bool(row.source) == bool(row.config):
    raise errors.InputError(
        f'row {name!r}: must name either a config to train or, by source, a '
        'row whose nets are evaluated')
  return row


def _check_params(row):
  """Raises InputError where networks are neither of a row nor of a run."""
  if row.source:
    raise errors.InputError(
        f'row {row.name!r}: params = {row.params!r}: must be one of {PARAMS}')
  try:
    evaluate.check_source(row.params)
  except errors.InputError as error:
    raise errors.InputError(f'row {row.name!r}: {error}') from None


def _check_names(rows):
  """Raises InputError where a name is taken or names nothing."""
  names = [row.name for row in rows]
  if not names:
    raise errors.InputError('config.rows = (): must hold at least one row')
  for name in names:
    if names.count(name) > 1:
      raise errors.InputError(f'two rows are named {name!r}')
  trained = [row.name for row in rows if not row.is_evaluated]
  for row in rows:
    if row.source and row.source not in trained:
      raise errors.InputError(
          f'row {row.name!r}: source = {row.source!r} is no trained row'
          f'{_close_to(row.source, trained)}')


def _close_to(name: str, known: list[str]) -> str:
  """Returns '; did you mean ...?', or what there is."""
  near = difflib.get_close_matches(name, known, 1)
  return f'; did you mean {near[0]!r}?' if near else (
      f': must be one of {", ".join(known)}')


def _run(rows, row, seed, folder):
  """Returns the run of a row and a seed; raises InputError."""
  named = {other.name: other for other in rows}
  source = named.get(row.source, row)
  changes = source.overrides | (row.overrides if row.source else {})
  arguments = (f'--config={source.config}',
               *(f'--config.{field}={value}'
                 for field, value in changes.items()),
               f'--config.seed={seed}')
  kind = 'tests' if row.is_evaluated else 'runs'
  return Run(
      name=f'{row.name}/seed={seed}', row=row, seed=seed,
      needs=(f'{row.source}/seed={seed}'
             if row.source and row.params == 'trained' else None),
      folder=folder / kind / row.name / f'seed={seed}', flags=arguments,
      config=_checked(row, arguments))


def _checked(row, arguments):
  """Returns the run's config; raises InputError that names the row."""
  try:
    config = config_files.parse(arguments).config
    validation.check(config)
  except errors.InputError as error:
    raise errors.InputError(f'row {row.name!r}: {error}') from None
  return config
