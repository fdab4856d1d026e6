"""Tables of results for the terminal."""

import pathlib
from typing import Any

import jax
import rich.console
import rich.table

from meta_analog.reporting import numbers

UNPRICED = 'not priced: communication, leakage, idle power'


def header(
    console: rich.console.Console, config_line: str, folder: pathlib.Path
) -> None:
  """Prints what is about to be run, on which machine and into which folder.

  Args:
    console: to print to.
    config_line: what is run, see `config.build.describe`.
    folder: of the run.
  """
  devices = jax.devices()
  console.print(f'{config_line}, on {len(devices)} x {devices[0].device_kind}, '
                f'into {folder}')


def table(summary: dict[str, Any]) -> rich.table.Table:
  """Returns the closing table of a summary."""
  out = rich.table.Table(
      title=f'{summary["config"]}: {summary["num_tasks"]} held-out tasks on '
            f'{summary["num_chips"]} chips, query {summary["metric"]}',
      caption=f'energies: orders of magnitude; {UNPRICED}')
  out.add_column('result')
  out.add_column(summary['metric'], justify='right')
  out.add_column('95 %', justify='right')
  row = lambda name, x: out.add_row(name, f'{x["mean"]:.4f}', _half(x))
  row('before adaptation', summary['before'])
  row('after adaptation', summary['after'])
  out.add_section()
  for time_s, value in summary['after_by_time_s'].items():
    row(f'after, at {_duration(float(time_s))}', value)
  row('after, over all time steps', summary['after_all_steps'])
  out.add_section()
  for name, value in summary.get('baselines', {}).items():
    row(f'baseline {name}', value)
  out.add_section()
  write = summary['write']
  out.add_row('pulses per task', f'{write["pulses_per_task"]:.1f}', '')
  out.add_row('devices written', f'{write["devices_written_per_task"]:.1f}',
              f'of {write["devices_total"]}')
  for label, name in (('energy of the write', 'adaptation_write_nJ'),
                      ('of the whole adaptation', 'adaptation_nJ'),
                      ('of one sample', 'inference_nJ_per_sample')):
    out.add_row(label, numbers.two_digits(summary['energy'][name]), 'nJ')
  rates = ', '.join(f'{rate:.0f}' for rate in summary['firing_rate_hz'])
  out.add_row('firing rates', rates, 'Hz')
  return out


def device_table(result: dict[str, Any]) -> rich.table.Table:
  """Returns a few numbers of a characterisation, without and with spread."""
  out = rich.table.Table(title=f'{result["device"]}: {result["num_devices"]} '
                               'devices in each measurement')
  # A family without parameters of spread has one column.
  columns = ({'spreads 0': '', 'with spread': '_with_spread'}
             if result['spreads'] else {'value': ''})
  out.add_column('quantity')
  for name in columns:
    out.add_column(name, justify='right')

  def row(name, cell):
    out.add_row(name, *(cell(lambda what: result[what + suffix])
                        for suffix in columns.values()))

  def moments(what, i):
    return lambda get: (f'{get(what)["mean_uS"][i]:.3f} ± '
                        f'{get(what)["std_uS"][i]:.3f} uS')

  for k in (1, 5, 10, 20):
    row(f'after {k} SET pulse{"s" if k > 1 else ""} from RESET',
        moments('set_pulses', k - 1))
  for i in (3, 6, 9, 12):
    row(f'programmed to {result["program"]["target_uS"][i]:.3g} uS',
        moments('program', i))
  for i in (0, 6, 12):
    row(f'std of a read at {result["read_noise"]["g_uS"][i]:.3g} uS',
        lambda get, i=i: f'{get("read_noise")["std_uS"][i]:.3f} uS')
  first = f'{result["drift"]["reference_s"]:g} s'
  for time_s in (1e3, 1e6):
    i = result['drift']['time_s'].index(time_s)
    row(f'conductance at {time_s:g} s, relative to {first}',
        lambda get, i=i: f'{get("drift")["relative"][i]:.4f}')
  return out


def energy_table(out: dict[str, Any]) -> rich.table.Table:
  """Returns the table of energy.json."""
  table_ = rich.table.Table(
      title='energy of an adaptation, nJ, orders of magnitude',
      caption='write: pulses, RESETs, reads; all: with the forward passes of '
              'the support set and digital work; unit: of the write, for each '
              f'unit of loss taken away; {UNPRICED}')
  table_.add_column('way to write')
  for name in (f'{out["metric"]} ± 95 %', 'pulses', 'reads', 'write', 'all',
               'unit'):
    table_.add_column(name, justify='right')
  for row in out['cases']:
    per_loss, spent = row['nJ_per_unit_of_loss'], row['energy']
    table_.add_row(
        row['label'], f'{row["after"]["mean"]:.4f} {_half(row["after"])}',
        f'{row["write"]["pulses_per_task"]:.0f}',
        f'{row["write"]["reads_per_task"]:.0f}',
        numbers.two_digits(spent['adaptation_write_nJ']),
        numbers.two_digits(spent['adaptation_nJ']),
        'none' if per_loss is None else numbers.two_digits(per_loss))
  return table_


def _half(value):
  return '' if value.get('ci95') is None else f'± {value["ci95"]:.4f}'


def _duration(time_s):
  """Returns a time of the chip's clock in words."""
  for unit, size in (('years', 31536000), ('days', 86400), ('hours', 3600)):
    if time_s >= size:
      return f'{time_s / size:g} {unit if time_s > size else unit[:-1]}'
  return f'{time_s:g} s'
