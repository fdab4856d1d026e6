"""Tables: orders of magnitude have two digits, numbers stand to the right."""

import io

import pytest

from meta_analog.reporting import numbers
from meta_analog.reporting import tables
from meta_analog.reporting import terminal

SPENT = {'adaptation_write_nJ': 1.5432, 'adaptation_nJ': 8912.0,
         'inference_nJ_per_sample': 391.4}
SUMMARY = {
    'config': 'pcm', 'num_tasks': 4, 'num_chips': 2, 'metric': 'mse',
    'before': {'mean': 4.8, 'ci95': 0.2}, 'after': {'mean': 0.1, 'ci95': None},
    'after_by_time_s': {'251': {'mean': 0.1, 'ci95': 0.01}},
    'after_all_steps': {'mean': 1.4, 'ci95': 0.1}, 'energy': SPENT,
    'write': {'pulses_per_task': 154.0, 'devices_written_per_task': 98.8,
              'devices_total': 16328}, 'firing_rate_hz': [117.0, 55.0]}
CASES = [{
    'label': f'verified, {devices} devices', 'energy': SPENT,
    'after': {'mean': 0.0751, 'ci95': 0.0041}, 'nJ_per_unit_of_loss': per_loss,
    'write': {'pulses_per_task': 135.2, 'reads_per_task': 26414.0}}
         for devices, per_loss in ((1, None), (4, 0.1))]


def _lines(table, columns=80):
  file = io.StringIO()
  console = terminal.console(file)
  console.width = columns
  console.print(table)
  return file.getvalue().splitlines()


@pytest.mark.parametrize('value, text', [
    (8912.0, '8900'), (167.0, '170'), (10.4, '10'), (1.5432, '1.5'),
    (1.0, '1.0'), (0.1, '0.10'), (0.0314, '0.031'), (0.0, '0.0'),
    (9.96, '10'), (3.21e-7, '3.2e-07'), (5.56e10, '5.6e+10'), (-12.3, '-12')])
def test_an_order_of_magnitude_has_two_digits(value, text):
  assert numbers.two_digits(value) == text


def test_the_closing_table_has_orders_of_magnitude_and_says_what_is_left_out():
  lines = _lines(tables.table(SUMMARY))
  text = ' '.join(' '.join(lines).split())
  for row in ('| energy of the write | 1.5 | nJ |',
              '| of the whole adaptation | 8900 | nJ |',
              '| of one sample | 390 | nJ |'):
    assert row in text
  assert tables.UNPRICED in text


def test_the_table_of_energy_fits_80_columns_with_numbers_to_the_right():
  lines = _lines(tables.energy_table({'metric': 'mse', 'cases': CASES}))
  rows = [line for line in lines if line.startswith('| verified')]
  assert len(rows) == 2 and max(map(len, rows)) <= 80
  ends = {tuple(i for i, c in enumerate(row) if c == '|') for row in rows}
  assert len(ends) == 1
  for cell in rows[1].split('|')[2:-1]:
    assert cell.endswith(' ') and not cell.endswith('  ')
  assert [cell.strip() for cell in rows[1].split('|')[2:-1]] == [
      '0.0751 ± 0.0041', '135', '26414', '1.5', '8900', '0.10']
  assert rows[0].split('|')[-2].strip() == 'none'
  assert tables.UNPRICED in ' '.join(' '.join(lines).split())
