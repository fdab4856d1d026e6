"""Reference of the config, and the command that prints a resolved one."""

import json
import os
import subprocess
import sys

import pytest

from configs import nmnist
from configs import omniglot
from configs import pcm
from meta_analog.config import __main__ as command
from meta_analog.config import defaults
from meta_analog.config import reference
from meta_analog.devices import registry as device_registry
from tests.helpers import runs

PCM = str(runs.ROOT / 'configs/pcm.py')


@pytest.fixture(scope='module')
def rows():
  return {row.field: row for row in reference.rows()}


def test_every_field_of_every_config_has_a_row(rows):
  for module in (pcm, omniglot, nmnist):
    config = module.get_config()
    task = config.task.name
    assert {name for name, row in rows.items() if task in row.default} == set(
        defaults.flat(config))


def test_every_field_has_a_meaning(rows):
  assert not [name for name, row in rows.items() if not row.text]


@pytest.mark.parametrize('field, unit, allowed, text', [
    ('network.dt_ms', 'ms', '> 0', 'length of a time step'),
    ('task.phase_max', 'rad', '> 0', 'highest phi; the lowest is 0'),
    ('crossbar.fresh_read_share', '', '>= 0, <= 1', 'ln(0.1 s / 250 ns)'),
    ('network.reset', '', '`hard`', 'hard'),
    ('adapt.rule', '', '`delta`, `ridge`', 'updates'),
    ('network.code', '', '`latency`', 'events'),
    ('prices.set_pJ', 'pJ', '>= 0', 'one SET pulse'),
    ('device_params.pcm.g_max_uS', 'uS', '> 0', '20 redraws'),
    ('device_params.pcm.m1', '', 'any', 'A1 P'),
    ('device_params.pcm.c1_uS', 'uS', '>= 0', 'see `m1`'),
    ('crossbar.slow_read_noise', '', '`True`', ''),
    ('network.hidden_sizes', '', 'each >= 1', 'neurons'),
    ('task.data_dir', '', '', 'Folder'),
    ('device_params.hermes.read_noise_from', '', '`programmed`', ''),
])
def test_a_row_says_what_the_sources_say(rows, field, unit, allowed, text):
  row = rows[field]
  assert row.unit == unit and allowed in row.allowed and text in row.text
  if not allowed:
    assert not row.allowed


def test_a_default_that_differs_is_given_for_each_task(rows):
  text = reference.markdown()
  assert ('| `training.num_steps` | steps of meta-training | sinusoid `1000`, '
          'omniglot `200`, nmnist `200` |  | >= 1, <= 1073741824 |') in text
  assert '| `10.0` | uS | > 0 |' in text
  assert rows['task.pool'].default == {'nmnist': 2}


def test_every_number_shows_its_range(rows):
  signed = {f'device_params.{name}.{field}'
            for name, family in device_registry.FAMILIES.items()
            for field in family.signed}
  assert {name for name, row in rows.items() if row.allowed == 'any'} <= signed
  for name, row in rows.items():
    assert row.allowed or all(
        isinstance(x, str) for x in row.default.values()), name
  assert rows['adapt.refresh_level_uS'].allowed == (
      '> 0, <= g_max_uS of the device')
  assert rows['verification.num_reads'].allowed.startswith('>= 1')


def test_every_table_has_its_heading():
  lines = reference.markdown().splitlines()
  heads = [i for i, line in enumerate(lines) if line.startswith('|---')]
  tables = [i for i, line in enumerate(lines)
            if line.startswith('|') and not lines[i - 1].startswith('|')]
  assert tables == [i - 1 for i in heads]
  assert lines[tables[0] - 2] == '## The run'


def test_the_command_prints_the_config_as_a_run_resolves_it(capsys):
  assert command.main(['', f'{PCM}:tiny', '--config.seed=3']) == 0
  expected = pcm.get_config('tiny')
  expected.seed = 3
  assert json.loads(capsys.readouterr().out) == json.loads(
      expected.to_json_best_effort())


def test_a_reader_that_leaves_is_no_error():
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(
      [sys.executable, '-m', 'meta_analog.config', f'{PCM}:tiny'],
      cwd=runs.ROOT, stdout=write, stderr=subprocess.PIPE, check=False)
  os.close(write)
  assert (done.returncode, done.stderr) == (0, b'')


@pytest.mark.parametrize('arguments, words', [
    ([f'{PCM}:huge'], "'huge': must be one of tiny"),
    ([f'{PCM}:tiny:delta'], 'use commas'),
    (['configs/none.py'], 'there is no file configs/none.py'),
    (['pmc'], 'did you mean pcm?'),
    ([PCM, '--config.sede=1'], 'did you mean seed?'),
    ([PCM, '--config.seed=a'], 'seed=a'),
    ([PCM, 'more'], "unexpected argument 'more'"),
    ([PCM, '--confg.seed=1'], 'Unknown command line flag'),
])
def test_a_mistake_ends_in_one_line_and_code_2(arguments, words, capsys):
  assert command.main(['', *arguments]) == 2
  out, err = capsys.readouterr()
  assert not out and words in err and err.count('\n') == 1


def test_both_commands_run():
  for module, words in (('meta_analog.config', '"adc_bits"'),
                        ('meta_analog.config.reference', '## periphery')):
    done = subprocess.run(
        [sys.executable, '-m', module, PCM], cwd=runs.ROOT, check=True,
        capture_output=True, text=True)
    assert words in done.stdout
