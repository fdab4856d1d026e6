"""Figure of a device: write, read, drift and programming."""

import pathlib
from typing import Any

import numpy as np

from meta_analog.reporting import style

MODEL, OTHER, SPREAD = style.MODEL, style.OTHER, style.SPREAD
DOT = {'color': style.MEASURED, 'ms': 3.5, 'zorder': 5}

# Nandakumar et al., 2018 (doi:10.1063/1.5042408): the write panel of the
# figure that srnn-pcm redraws from it, digitised to 0.05 uS; g_max 20 uS.
# Pulses: (mean, standard deviation), uS; the first was read beside the axis.
PUBLISHED_PULSES = {
    1.04: (2.13, 1.61), 2: (3.43, 2.04), 3: (4.45, 2.23), 4: (5.28, 2.34),
    5: (5.91, 2.41), 6: (6.39, 2.40), 8: (7.20, 2.41), 10: (7.83, 2.47),
    12: (8.26, 2.54), 14: (8.56, 2.59), 16: (8.83, 2.60), 18: (9.12, 2.61),
    20: (9.35, 2.69)}
# The same: standard deviation of a read, 0.03 g + 0.13, g in uS.
PUBLISHED_READ = (0.03, 0.13)
# The same: time in s, G(t) / G(38.6 s) at the exponent 0.04.
PUBLISHED_DRIFT = {
    1.0: 1.15735, 10.0: 1.05551, 38.6: 1.0, 100.0: 0.96264, 1e3: 0.87794,
    1e4: 0.80069, 1e5: 0.73024, 1e6: 0.66598}


def characterization(path: pathlib.Path, result: dict[str, Any]) -> None:
  """Draws what characterization.json holds, with published points on top.

  Args:
    path: of the picture.
    result: see `characterization.characterize`. Published points are drawn for
      the family that they belong to, 'pcm'.
  """
  published = result['device'] == 'pcm'
  spreads = ', '.join(f'{name} = {value:g}'
                      for name, value in result['spreads'].items())
  with style.figure(path, 2, 2, figsize=(9.5, 7)) as (figure, axes):
    _write(axes[0, 0], result, published)
    _read(axes[0, 1], result, published)
    _drift(axes[1, 0], result, published)
    _program(axes[1, 1], result)
    figure.suptitle(f'{result["device"]}: {result["num_devices"]:,} devices'
                    f'{f"; with spread: {spreads}" if spreads else ""}')


def _write(axis, result, published):
  """Conductance against the number of pulses since RESET."""
  if published:
    data = result['set_pulses_published']
    g_max_uS = data['changes']['g_max_uS']
    _band(axis, data, OTHER, f'model, mean ± 1 std, g_max {g_max_uS:g} uS')
    count = list(PUBLISHED_PULSES)
    mean, std = np.array(list(PUBLISHED_PULSES.values())).T
    axis.errorbar(count, mean, std, fmt='o', capsize=2, elinewidth=0.8,
                  label=f'published figure, g_max {g_max_uS:g} uS', **DOT)
  own = f'g_max {result["params"]["g_max_uS"]:g} uS'
  _band(axis, result['set_pulses'], MODEL, f'model, mean ± 1 std, {own}')
  if result['spreads']:
    _spread(axis, result['set_pulses_with_spread'], f'with spread, {own}')
  axis.set(xlabel='SET pulses since RESET', title='Write', xlim=(0, 20.7))
  data = result['set_pulses']
  if 'down_mean_uS' in data:
    num = len(data['num_pulses'])
    down = {'num_pulses': [num + n for n in data['num_pulses']],
            'mean_uS': data['down_mean_uS'], 'std_uS': data['down_std_uS']}
    _band(axis, down, OTHER, 'the same, pulses of the other sign')
    axis.axvline(num + 0.5, color=SPREAD, lw=0.6, ls=':')
    axis.set(xlabel='pulses since RESET: SET, then the other sign',
             xlim=(0, 2 * num + 0.7))
  axis.set_ylabel('conductance (uS)')
  axis.set_ylim(0, 1.55 * axis.get_ylim()[1])
  axis.xaxis.get_major_locator().set_params(integer=True)
  axis.legend(loc='upper left')


def _read(axis, result, published):
  """One read against the conductance; its standard deviation in an inset."""
  g, std = (np.array(result['read_noise'][x]) for x in ('g_uS', 'std_uS'))
  axis.fill_between(g, g - std, g + std, color=MODEL, alpha=0.25, lw=0,
                    label='model, ± 1 std')
  axis.plot(g, g, color=MODEL, lw=1, label='model, mean')
  inset = axis.inset_axes((0.63, 0.15, 0.34, 0.34))
  inset.plot(g, std, color=MODEL)
  spread = result['read_noise_with_spread']
  if result['spreads']:
    inset.plot(spread['g_uS'], spread['std_uS'], '--', color=SPREAD, lw=1)
  if published:
    slope, offset = PUBLISHED_READ
    for sign in (-1, 1):
      axis.plot(g, g + sign * (slope * g + offset), 'o', **DOT,
                label='published, 0.03 g + 0.13' if sign > 0 else None)
    inset.plot(g, slope * g + offset, 'o', **DOT)
  inset.set_ylim(0, max(1e-3, 1.25 * max(std.max(), *spread['std_uS'])))
  inset.set_title('std of a read (uS)', fontsize=8)
  inset.set_xlabel('conductance (uS)', fontsize=7)
  inset.tick_params(labelsize=7)
  axis.set(xlabel='conductance (uS)', ylabel='read conductance (uS)',
           title='Read')
  axis.legend(loc='upper left')


def _drift(axis, result, published):
  """Mean conductance against time, relative to a first read."""
  first = result['drift']['reference_s']
  for suffix, line_style, label in (
      ('', {'color': MODEL}, 'model'),
      ('_with_spread', {'color': SPREAD, 'ls': '--', 'lw': 1}, 'with spread'),
  )[:_num_columns(result)]:
    data = result['drift' + suffix]
    axis.plot(data['time_s'], data['relative'], label=label, **line_style)
  data = result['drift_with_spread']
  mean, std = (np.array(data[x]) for x in ('relative', 'relative_std'))
  if not published:
    axis.fill_between(
        data['time_s'], mean - std, mean + std, color=SPREAD, alpha=0.15, lw=0,
        label=f'± 1 std over devices, from {data["target_uS"]:.3g} uS')
  else:
    axis.plot(list(PUBLISHED_DRIFT), list(PUBLISHED_DRIFT.values()), 'o', **DOT,
              label='published law, exponent 0.04')
  axis.axhline(1.0, color=style.FAINT, lw=0.6, zorder=0)
  low, high = axis.get_ylim()
  high += 0 if published else 0.35 * (high - low)  # headroom for the legend
  middle, half = (low + high) / 2, max((high - low) / 2, 0.05)
  axis.set(xscale='log', xlabel='time since programming (s)', title='Drift',
           ylabel=f'mean conductance / that at {first:g} s',
           ylim=(middle - half, middle + half))
  axis.legend()


def _program(axis, result):
  """Error of programming to a target: its standard deviation and its mean."""
  for suffix, line_style, label in (
      ('', {'color': MODEL}, ''),
      ('_with_spread', {'color': SPREAD, 'lw': 1}, ' with spread'),
  )[:_num_columns(result)]:
    data = result['program' + suffix]
    target, mean = np.array(data['target_uS']), np.array(data['mean_uS'])
    line = '--' if suffix else '-'
    axis.plot(target, data['std_uS'], f'o{line}', ms=3,
              label=f'std of the error{label}', **line_style)
    axis.plot(target, mean - target, f's{line}', ms=3, mfc='none',
              label=f'mean of the error{label}', **line_style)
  low, high = axis.get_ylim()
  axis.axhline(0.0, color=style.FAINT, lw=0.6, zorder=0)
  axis.set(xlabel='target conductance (uS)', title='Program to a target',
           ylabel='programmed - target (uS)',
           ylim=(low, max(high + 0.25 * (high - low), low + 0.1)))
  axis.legend(loc='upper left', ncols=2)


def _num_columns(result):
  """Returns 2 where the family has spreads that can be set to 0, else 1."""
  return 2 if result['spreads'] else 1


def _band(axis, data, color, label):
  """Mean and ± 1 standard deviation."""
  mean, std = np.array(data['mean_uS']), np.array(data['std_uS'])
  axis.fill_between(data['num_pulses'], mean - std, mean + std, color=color,
                    alpha=0.2, lw=0)
  for edge in (mean - std, mean + std):
    axis.plot(data['num_pulses'], edge, color=color, lw=0.6)
  axis.plot(data['num_pulses'], mean, color=color, label=label)


def _spread(axis, data, label):
  """The same, as dashed lines."""
  mean, std = np.array(data['mean_uS']), np.array(data['std_uS'])
  for i, y in enumerate((mean, mean - std, mean + std)):
    axis.plot(data['num_pulses'], y, '--', color=SPREAD, lw=1,
              label=None if i else label)
