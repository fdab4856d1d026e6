"""Configs drawn from their ranges and edges: python -m pytest -m fuzz

Each is refused in a line, ends in a number that is not finite, or leaves files
of finite numbers. FUZZ_SECONDS is the time for all, FUZZ_SEED another draw.
"""

import contextlib
import json
import math
import os
import time

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from meta_analog.config import build
from meta_analog.config import defaults
from meta_analog.config import memory
from meta_analog.config import ranges
from meta_analog.config import reference
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.evaluation import meta_test_results
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import run_keys
from meta_analog.runtime import atomic_files
from meta_analog.tasks import registry as task_registry
from meta_analog.training import meta_training
from meta_analog.training import params_file
from tests.helpers import small_data

SECONDS = min(1200.0, float(os.environ.get('FUZZ_SECONDS', '1200')))
SEED = int(os.environ.get('FUZZ_SEED', '0'))
TASKS = tuple(task_registry.FAMILIES)
NO_VALUES = (-1, 0, True, math.nan, math.inf, -math.inf, 1e308, 1e-320, 2**63)
SMALL = {
    'network.hidden_sizes': (4,), 'network.num_time_steps': 6,
    'training.num_steps': 2, 'training.tasks_per_step': 2,
    'training.tasks_per_chip': 1, 'training.log_every': 1,
    'evaluation.num_tasks': 4, 'evaluation.num_chips': 2,
    'evaluation.ordinary_steps': 2, 'descent.num_iterations': 3,
    'descent.num_inputs': 3, 'verification.max_rounds': 5}
SMALL_IMAGES = SMALL | {
    'network.hidden_sizes': (), 'network.convolutions': ((4, 7, 4),),
    'network.num_time_steps': 3, 'training.pretrain_steps': 2,
    'training.pretrain_way': 2, 'task.way': 2, 'task.query_shot': 1,
    'training.begin_with': ''}
# Work grows with these, so that a run has few.
COSTLY = (
    'network.num_time_steps', 'network.input_channels', 'adapt.num_events',
    'adapt.num_steps', 'adapt.refresh_pulses', 'training.num_steps',
    'training.tasks_per_step', 'training.tasks_per_chip',
    'training.tasks_at_once', 'training.chips_per_chunk',
    'training.pretrain_steps', 'training.pretrain_way',
    'training.pretrain_tasks', 'descent.num_iterations', 'descent.num_inputs',
    'descent.num_levels', 'evaluation.num_tasks', 'evaluation.num_chips',
    'evaluation.ordinary_steps', 'crossbar.hidden_devices',
    'crossbar.output_devices', 'periphery.tile_rows', 'task.support_size',
    'task.query_size', 'task.way', 'task.shot', 'task.query_shot',
    'verification.max_rounds', 'verification.max_pulses',
    'verification.num_reads', 'verification.max_resets')
FEW = 6
pytestmark = [pytest.mark.slow, pytest.mark.fuzz]
WORDS = {field: tuple(sorted(words)) for field, words in
         reference.CHOICES.items()}
WORDS['network.code'] = ('current', 'latency', 'rate', 'events')
SIZES = ((), (1,), (4, 3), (4, 3, 2), (True,), True, (0,), (2**40,))


class TimeOverError(Exception):
  """Ends a search, which found nothing."""


@st.composite
def changes(draw, task, cheap):
  """Draws {field: value} of some fields of a task's config."""
  flat = defaults.flat(defaults.get_config(task))
  table = {field: limits for field, limits in ranges.table().items()
           if field in flat}
  device = draw(st.sampled_from(WORDS['device']))
  fields = sorted(
      field for field in {*table, *WORDS, 'network.hidden_sizes'} & {*flat}
      if not field.startswith('device_params.')
      or field.startswith(f'device_params.{device}.'))
  out = {'device': device}
  for field in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=5,
                             unique=True)):
    if field in WORDS:
      out[field] = draw(st.sampled_from((*WORDS[field], 'other')))
    elif field == 'network.hidden_sizes':
      out[field] = draw(st.sampled_from(SIZES))
    else:
      out[field] = draw(numbers(field, flat[field], table[field], cheap))
  return out


def numbers(field, usual, limits, cheap):
  """Returns a strategy of a field's edges, of what is near, and of no value."""
  low, high, _ = limits
  if isinstance(usual, int):
    top = FEW if cheap and field in COSTLY else high
    near = [low, low + 1, min(top, usual), min(top, 2 * usual + 1), top]
    if not cheap:
      near += [high - 1, high + 1]
  else:
    top = 1e30 if high == math.inf else high
    near = [low, usual, 0.1 * usual, 10.0 * usual, 1e-30, 1e-10, 0.5, 1.0,
            1e3, 1e10, top, 3e38]
  values = [type(usual)(value) for value in near]
  return st.sampled_from(values) | st.sampled_from(values + [*NO_VALUES])


def made(task, small, drawn):
  """Returns a config with what was drawn, whatever its types."""
  config = defaults.get_config(task).copy_and_resolve_references()
  for field, value in (small | drawn).items():
    *sections, name = field.split('.')
    part = config
    for section in sections:
      part = part[section]
    with part.ignore_type():
      part[name] = value
  if task != 'sinusoid' and all(isinstance(config.task[name], int) for name in (
      'way', 'shot', 'query_shot')):
    with config.task.ignore_type():
      config.task.support_size = config.task.way * config.task.shot
      config.task.query_size = config.task.way * config.task.query_shot
  return config.lock()


def exit_code(config, folder):
  """Trains two steps, tests and writes; returns what a command would end with.

  Without figures and baselines, which take longer than all else.
  """
  folder.mkdir()
  try:
    validation.check(config)
    memory.check(config, 16 * 10**9, 2)
    setup, keys = build.build(config), run_keys.make(config.seed)
    trainer = meta_training.make(config, setup)
    state = jax.jit(trainer.init)(keys.init)
    for step in range(2):
      state, info = trainer.update(state, keys.train)
      if not np.all(info.pop('finite')):
        return 3
      atomic_files.write_npz(
          folder / f'metrics_{step}.npz', jax.tree.map(np.asarray, info))
    results, chip = meta_testing.run(config, setup, state.params, keys.test)
    params_file.save(folder / 'parameters.npz', state.params)
    atomic_files.write_npz(folder / 'chip.npz', chip)
    atomic_files.write_npz(
        folder / 'evaluation.npz', meta_test_results.layout(config, results))
    atomic_files.write_json(folder / 'summary.json', meta_testing.summarize(
        config, setup, results))
  except ValueError as error:
    assert isinstance(error, errors.InputError) or 'lower it' in str(error)
    assert '\n' not in str(error) and len(str(error)) > 10
    return 2
  except errors.NonFiniteError as error:
    assert '\n' not in str(error)
    return error.exit_code
  return 0


def check_files(folder):
  """Checks that every file of a run holds finite numbers."""
  def refuse(word):
    raise AssertionError(f'{word} in a file')

  for path in folder.rglob('*'):
    if path.suffix == '.json':
      json.loads(path.read_text(), parse_constant=refuse)
    elif path.suffix == '.npz':
      with np.load(path, allow_pickle=False) as data:
        for name, value in data.items():
          assert value.dtype.kind not in 'fc' or np.all(
              np.isfinite(value)), (path.name, name)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """A folder with a small Omniglot and a small N-MNIST."""
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp('data')
    small_data.use_omniglot(folder, patch)
    small_data.nmnist(folder / 'nmnist')
    patch.setenv('META_ANALOG_DATA', str(folder))
    yield folder


def search(task, cheap, seconds, one):
  """Draws changes of a task until the time is over; raises at a finding."""
  until = time.monotonic() + seconds

  @hypothesis.seed(SEED)
  @hypothesis.settings(
      max_examples=10**6, deadline=None, database=None, derandomize=False,
      phases=[hypothesis.Phase.generate],
      suppress_health_check=list(hypothesis.HealthCheck))
  @hypothesis.given(drawn=changes(task, cheap))
  def test(drawn):
    if time.monotonic() > until:
      raise TimeOverError
    one(drawn)

  with contextlib.suppress(TimeOverError):
    test()


@pytest.mark.parametrize('task', TASKS)
def test_a_drawn_config_is_accepted_or_refused_in_a_line(task, data):
  small = SMALL if task == 'sinusoid' else SMALL_IMAGES

  def one(drawn):
    config = made(task, small, drawn)
    try:
      validation.check(config)
    except errors.InputError as error:
      assert '\n' not in str(error)
      assert 'wrong type' not in str(error), (drawn, error)
      return
    try:
      memory.check(config, 16 * 10**9, 2)
    except ValueError as error:
      assert 'lower it' in str(error)

  search(task, False, SECONDS / 12, one)


@pytest.mark.parametrize('task', TASKS)
def test_a_run_of_a_drawn_config_ends_well(task, data, tmp_path):
  small = SMALL if task == 'sinusoid' else SMALL_IMAGES
  codes = []

  def one(drawn):
    folder = tmp_path / str(len(codes))
    codes.append(exit_code(made(task, small, drawn), folder))
    if codes[-1] == 0:
      check_files(folder)

  try:
    search(task, True, SECONDS / 4, one)
  finally:
    print(task, {code: codes.count(code) for code in sorted({*codes})})
