"""Figures of a run, each drawn from numbers alone."""

import pathlib
from typing import Any

import numpy as np

from meta_analog.reporting import numbers
from meta_analog.reporting import style

# Ticks of the time since adaptation, s.
TIMES_S = {'1 minute': 60, '1 hour': 3600, '1 day': 86400,
           '1 month': 2592000, '1 year': 31536000}


def training_curve(
    path: pathlib.Path, lines: list[dict[str, Any]], baseline: float | None
) -> None:
  """Draws the query loss over meta-training, and the noise beneath it.

  Args:
    path: of the picture.
    lines: of metrics.jsonl.
    baseline: loss of the best prediction without adaptation.
  """
  step = np.array([line['step'] for line in lines])
  loss = np.array([line['query_loss'] for line in lines])
  with style.figure(path, 2, 1, figsize=(7, 4.6), sharex=True,
                    height_ratios=(3, 1)) as (figure, axes):
    top, low = axes[:, 0]
    top.plot(step, loss, color=style.BEFORE, lw=0.8, label='each logged step')
    window = max(1, len(loss) // 20)
    if len(loss) >= window > 1:
      smooth = np.convolve(loss, np.ones(window) / window, 'valid')
      top.plot(step[window - 1:], smooth, color=style.AFTER,
               label=f'mean of {window}')
    if baseline is not None:
      top.axhline(baseline, color=style.TRUTH, ls=':',
                  label='best without adaptation')
    style.plain_log(top.yaxis)
    top.set_ylabel('query loss after adaptation')
    figure.legend(*top.get_legend_handles_labels(), ncols=3,
                  loc='outside upper center')
    low.plot(step, [line['noise_scale'] for line in lines], color=style.TRUTH)
    low.set(xlabel='meta-training step', ylabel='noise scale',
            ylim=(-0.05, 1.1))


def adaptation(
    path: pathlib.Path, x: np.ndarray, truth: np.ndarray, before: np.ndarray,
    after: np.ndarray, support_x: np.ndarray, support_y: np.ndarray
) -> None:
  """Draws held-out tasks: support set, truth, before and after adaptation.

  Each output is a line, the mean over chips, in a band of ± 1 standard
  deviation over the chips.

  Args:
    path: of the picture.
    x: [B, M], dense inputs in order, in units of the task.
    truth: [B, M], the task's function there.
    before: [B, C, M], outputs of C chips before adaptation.
    after: [B, C, M], and after.
    support_x: [B, K], in units of the task.
    support_y: [B, K].
  """
  columns = min(3, len(x))
  rows = -(-len(x) // columns)
  with style.figure(path, rows, columns, sharex=True, sharey=True, figsize=(
      2.6 * columns, 2.1 * rows + 0.5)) as (figure, axes):
    for axis in axes.flat[len(x):]:
      axis.set_visible(False)
    for i, axis in enumerate(axes.flat[:len(x)]):
      for outputs, color, label in (
          (before[i], style.BEFORE, 'before'),
          (after[i], style.AFTER, 'after adaptation')):
        mean, std = outputs.mean(axis=0), outputs.std(axis=0)
        axis.fill_between(x[i], mean - std, mean + std, color=color, alpha=0.3,
                          lw=0)
        axis.plot(x[i], mean, color=color, label=label)
      axis.plot(x[i], truth[i], color=style.LATER, lw=1.0, ls='--',
                label='truth')
      axis.plot(support_x[i], support_y[i], 'o', color=style.SUPPORT, ms=3.5,
                mec='white', mew=0.4, label='support set', zorder=4)
      error = np.mean(np.square(after[i] - truth[i]))
      axis.set_title(f'mean squared error {error:.3f}')
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=4,
                  loc='outside upper center',
                  title=f'mean of {before.shape[1]} chips, band: ± 1 std over '
                        'the chips', title_fontsize=style.SMALL)
    figure.supxlabel('input', fontsize=9)
    figure.supylabel('output', fontsize=9)


def conductances(path: pathlib.Path, chip: dict[str, np.ndarray]) -> None:
  """Draws a chip's conductances by layer and polarity, and the adapted ones.

  Args:
    path: of the picture.
    chip: of chip.npz.
  """
  num_layers = sum(name.endswith('_target_uS') for name in chip)
  with style.figure(path, 1, num_layers, figsize=(
      2.9 * num_layers, 2.8)) as (figure, axes):
    for i, axis in enumerate(axes.flat):
      programmed = chip[f'layer_{i}_programmed_uS']
      adapted = chip[f'layer_{i}_adapted_uS']
      bins = np.linspace(0, max(1e-6, programmed.max(), adapted.max()), 31)
      for j, (label, color) in enumerate((
          ('G+', style.POSITIVE), ('G-', style.NEGATIVE))):
        axis.hist(programmed[j].ravel(), bins, color=color, alpha=0.35,
                  label=f'{label} programmed')
        axis.hist(adapted[j].ravel(), bins, color=color, histtype='step',
                  label=f'{label} after adaptation')
      num_pulses = int(chip[f'layer_{i}_num_pulses'].sum())
      axis.set(title=f'layer {i}: {programmed.size} devices, '
                     f'{num_pulses} pulses', xlabel='conductance (uS)')
      style.plain_log(axis.yaxis)
    axes[0, 0].set_ylabel('devices')
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=4,
                  loc='outside upper center')


def loss_over_time(
    path: pathlib.Path, summary: dict[str, Any], adapted_s: float
) -> None:
  """Draws the score against the time since adaptation.

  Args:
    path: of the picture.
    summary: of the run.
    adapted_s: chip time of the last write.
  """
  rows = [(float(time_s) - adapted_s, value['mean'], value['ci95'] or 0.0)
          for time_s, value in summary['after_by_time_s'].items()]
  age_s, mean, half = np.array(rows).T
  lines = {name.replace('_', ' '): summary['baselines'][name]['mean']
           for name in ('predict_mean', 'float_ridge')
           if name in summary['baselines']}
  before = f'before: {summary["before"]["mean"]:.3f}'
  if summary['metric'] == 'mse':  # Else it would press all else to a line.
    lines['before'] = summary['before']['mean']
  with style.figure(path, figsize=(6, 3.6)) as (_, axes):
    axis = axes[0, 0]
    axis.fill_between(age_s, mean - half, mean + half, color=style.AFTER,
                      alpha=0.25, lw=0)  # what lies beneath shows
    axis.plot(age_s, mean, 'o-', color=style.AFTER)
    axis.set(xlim=(age_s[0] / 2, age_s[-1] * 2), ylabel=(
        f'query {summary["metric"]}'))
    axis.set_title('after adaptation, mean and 95 % interval'
                   + ('' if 'before' in lines else f' ({before})'))
    _elapsed_time(axis)
    if summary['metric'] == 'mse':
      low, high = min(*lines.values(), *mean), max(*lines.values(), *mean)
      axis.set_ylim(0.7 * low, 1.4 * high)
      style.plain_log(axis.yaxis)
    style.label_lines(axis, lines, style.TRUTH)


def _elapsed_time(axis):
  """Makes the abscissa a time since adaptation, its ticks in words."""
  style.plain_log(axis.xaxis)
  low, high = axis.get_xlim()
  ticks = {name: s for name, s in TIMES_S.items() if low <= s <= high}
  if len(ticks) > 1:
    axis.set_xticks(list(ticks.values()), list(ticks))
    axis.set_xticks([], minor=True)
  axis.set_xlabel('time since adaptation' + ('' if len(ticks) > 1 else ' (s)'))


def update_sizes(
    path: pathlib.Path, meta: np.ndarray, ordinary: np.ndarray
) -> None:
  """Draws the sizes of meta-learned and of ordinary weight updates.

  Args:
    path: of the picture.
    meta: weight changes of one adaptation, zeros left out.
    ordinary: changes per step of ordinary training, zeros left out.
  """
  both = np.concatenate([meta, ordinary])
  # The smallest of them, one in a thousand, would be half of the axis.
  bins = np.geomspace(np.quantile(both, 1e-3), both.max() * 1.01, 50)
  ratio = np.median(meta) / np.median(ordinary)
  with style.figure(path, figsize=(6, 3.4)) as (_, axes):
    axis = axes[0, 0]
    for values, label, color in (
        (ordinary, 'ordinary training, one step', style.BEFORE),
        (meta, 'one meta-learned adaptation', style.AFTER)):
      weights = np.full(len(values), 1 / len(values))
      axis.hist(values, bins, weights=weights, color=color, alpha=0.7,
                label=f'{label}: median {np.median(values):.2g}')
    axis.set(xlabel='size of a weight change, output layer',
             ylabel='share of changes', title=f'ratio of medians: {ratio:.0f}')
    style.plain_log(axis.xaxis)
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])  # headroom for the legend
    axis.legend()


def energy(path: pathlib.Path, rows: list[dict[str, Any]], metric: str) -> None:
  """Draws what an adaptation costs against what is left of the loss.

  Args:
    path: of the picture.
    rows: of `energy_comparison.run`.
    metric: of the loss.
  """
  with style.figure(path, figsize=(6.4, 3.8)) as (_, axes):
    axis = axes[0, 0]
    for i, row in enumerate(rows):
      x, y = row['after']['mean'], row['energy']['adaptation_write_nJ']
      per_loss = row['nJ_per_unit_of_loss']
      note = 'no gain' if per_loss is None else (
          f'{numbers.two_digits(per_loss)} nJ per unit')
      axis.errorbar(x, y, xerr=row['after']['ci95'] or 0.0, marker='o',
                    ls='none', color=f'C{i}', label=f'{row["label"]}: {note}')
    axis.margins(0.2)
    axis.set(xlabel=f'query {metric} after adaptation',
             ylabel='energy of the write (nJ), order of magnitude',
             title='energy of the write per unit of loss taken away')
    style.plain_log(axis.yaxis)
    if metric == 'mse':
      style.plain_log(axis.xaxis)
    axis.legend()
