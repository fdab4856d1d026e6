"""The figures of a run, each a pure function from arrays to a picture."""

import pathlib
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
import numpy as np

matplotlib.use('Agg')

BEFORE, AFTER, TRUTH = '#b8b8b8', '#c0392b', '#2c3e50'
PLUS, MINUS = '#c0392b', '#2471a3'


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
  figure, (top, low) = plt.subplots(
      2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1))
  top.semilogy(step, loss, color=BEFORE, lw=0.8, label='each logged step')
  window = max(1, len(loss) // 20)
  if len(loss) >= window > 1:
    smooth = np.convolve(loss, np.ones(window) / window, 'valid')
    top.semilogy(step[window - 1:], smooth, color=AFTER,
                 label=f'mean of {window}')
  if baseline is not None:
    top.axhline(baseline, color=TRUTH, ls=':', label='best without adaptation')
  top.set_ylabel('query loss after adaptation')
  top.legend(frameon=False)
  low.plot(step, [line['noise_scale'] for line in lines], color=TRUTH)
  low.set(xlabel='meta-training step', ylabel='noise scale', ylim=(-0.05, 1.1))
  _save(figure, path)


def adaptation(
    path: pathlib.Path, x: np.ndarray, before: np.ndarray, after: np.ndarray,
    truth_x: np.ndarray, truth: np.ndarray, target: np.ndarray,
    support_x: np.ndarray, support_y: np.ndarray
) -> None:
  """Draws held-out tasks: support set, truth, before and after adaptation.

  Args:
    path: of the picture.
    x: [B, N], query inputs in order.
    before: [B, N], predictions on them before adaptation.
    after: [B, N], and after.
    truth_x: [B, M], dense inputs.
    truth: [B, M], the task's function there.
    target: [B, N], the task's function at x.
    support_x: [B, K].
    support_y: [B, K].
  """
  columns = min(3, len(x))
  rows = -(-len(x) // columns)
  figure, axes = plt.subplots(
      rows, columns, figsize=(3.6 * columns, 2.7 * rows), sharex=True,
      sharey=True, squeeze=False)
  for axis in axes.flat[len(x):]:
    axis.set_visible(False)
  for i, axis in enumerate(axes.flat[:len(x)]):
    axis.plot(truth_x[i], truth[i], color=TRUTH, lw=1.2, label='truth')
    axis.plot(support_x[i], support_y[i], 'o', color=TRUTH, ms=3.5,
              label='support set')
    axis.plot(x[i], before[i], '.-', color=BEFORE, lw=0.8, label='before')
    axis.plot(x[i], after[i], '.-', color=AFTER, lw=1.2, label='after')
    error = np.mean(np.square(after[i] - target[i]))
    axis.set_title(f'query mean squared error {error:.3f}', fontsize=9)
  axes[0, 0].legend(frameon=False, fontsize=7)
  figure.supxlabel('input')
  figure.supylabel('output')
  _save(figure, path)


def conductances(path: pathlib.Path, chip: dict[str, np.ndarray]) -> None:
  """Draws a chip's conductances by layer and polarity, and the adapted ones.

  Args:
    path: of the picture.
    chip: of chip.npz.
  """
  num_layers = sum(name.endswith('_target_uS') for name in chip)
  figure, axes = plt.subplots(
      1, num_layers, figsize=(3.6 * num_layers, 3), squeeze=False)
  for i, axis in enumerate(axes.flat):
    programmed = chip[f'layer_{i}_programmed_uS']
    adapted = chip[f'layer_{i}_adapted_uS']
    top = max(1e-6, programmed.max(), adapted.max())
    bins = np.linspace(0, top, 31)
    for j, (label, color) in enumerate((('G+', PLUS), ('G-', MINUS))):
      axis.hist(programmed[j].ravel(), bins, color=color, alpha=0.35,
                label=f'{label} programmed')
      axis.hist(adapted[j].ravel(), bins, color=color, histtype='step', lw=1.4,
                label=f'{label} after adaptation')
    num_pulses = int(chip[f'layer_{i}_num_pulses'].sum())
    axis.set(title=f'layer {i}, {programmed.size} devices, '
                   f'{num_pulses} pulses', xlabel='conductance (uS)',
             yscale='log')
    axis.title.set_fontsize(9)
  axes[0, 0].set_ylabel('devices')
  axes[0, -1].legend(frameon=False, fontsize=7)
  _save(figure, path)


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
  figure, axis = plt.subplots(figsize=(6, 4))
  axis.errorbar(age_s, mean, yerr=half, color=AFTER, marker='o', capsize=3,
                label='after adaptation')
  before = summary['before']['mean']
  if summary['metric'] == 'accuracy':  # It would press all else to a line.
    axis.plot([], color=BEFORE, label=f'before: {before:.3f}')
  else:
    axis.axhline(before, color=BEFORE, label='before')
  for name in ('predict_mean', 'float_ridge'):
    if name in summary['baselines']:
      axis.axhline(summary['baselines'][name]['mean'], ls=':', color=TRUTH)
      axis.annotate(name.replace('_', ' '), fontsize=7, color=TRUTH,
                    xy=(age_s[0], summary['baselines'][name]['mean']),
                    xytext=(0, 2), textcoords='offset points')
  axis.set(xscale='log', xlim=(age_s[0] / 2, age_s[-1] * 3),
           xlabel='time since adaptation (s)',
           ylabel=f'query {summary["metric"]}')
  if summary['metric'] == 'mse':
    axis.set_yscale('log')
  for age, name in ((3600, 'hour'), (86400, 'day'), (2592000, 'month'),
                    (31536000, 'year')):
    if age_s[0] < age <= 1.1 * age_s[-1]:
      axis.axvline(age, color=BEFORE, lw=0.5)
      axis.text(age, axis.get_ylim()[0], f' {name}', fontsize=7, va='bottom')
  # Above: within, it would lie across a line.
  axis.legend(frameon=False, ncols=2, loc='lower center',
              bbox_to_anchor=(0.5, 1.0))
  _save(figure, path)


def update_sizes(
    path: pathlib.Path, meta: np.ndarray, ordinary: np.ndarray
) -> None:
  """Draws the sizes of meta-learned and of ordinary weight updates.

  Args:
    path: of the picture.
    meta: weight changes of one adaptation, zeros left out.
    ordinary: changes per step of ordinary training, zeros left out.
  """
  figure, axis = plt.subplots(figsize=(6, 3.6))
  both = np.concatenate([meta, ordinary])
  bins = np.geomspace(both.min(), both.max() * 1.01, 50)
  for values, label, color in (
      (ordinary, 'ordinary training, one step', BEFORE),
      (meta, 'one meta-learned adaptation', AFTER)):
    weights = np.full(len(values), 1 / len(values))
    axis.hist(values, bins, weights=weights, color=color, alpha=0.7,
              label=f'{label}: median {np.median(values):.2g}')
  ratio = np.median(meta) / np.median(ordinary)
  axis.set(xscale='log', xlabel='size of a weight change, output layer',
           ylabel='share of changes', title=f'ratio of medians: {ratio:.0f}')
  axis.legend(frameon=False, fontsize=8)
  _save(figure, path)


def energy(path: pathlib.Path, rows: list[dict[str, Any]], metric: str) -> None:
  """Draws what an adaptation costs against what is left of the loss.

  Args:
    path: of the picture.
    rows: of `energy_comparison.run`.
    metric: of the loss.
  """
  figure, axis = plt.subplots(figsize=(6.4, 4))
  for i, row in enumerate(rows):
    x, y = row['after']['mean'], row['energy']['adaptation_write_nJ']
    per_loss = row['nJ_per_unit_of_loss']
    note = 'no gain' if per_loss is None else f'{per_loss:.2g} nJ per unit'
    axis.errorbar(x, y, xerr=row['after']['ci95'] or 0.0, marker='o',
                  capsize=3, ls='none', color=f'C{i}',
                  label=f'{row["label"]}: {note}')
  axis.set(yscale='log', xlabel=f'query {metric} after adaptation',
           ylabel='energy of the write (nJ), order of magnitude',
           title='energy per unit of loss taken away')
  if metric == 'mse':
    axis.set_xscale('log')
  axis.margins(0.2)
  axis.legend(frameon=False, fontsize=8)
  _save(figure, path)


def _save(figure, path):
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.tight_layout()
  figure.savefig(path, dpi=130)
  plt.close(figure)
