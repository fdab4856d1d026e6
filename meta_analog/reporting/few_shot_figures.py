"""The figure of a few tested tasks of images: what was seen, what was said."""

import pathlib

import matplotlib
from matplotlib import pyplot as plt
import numpy as np

matplotlib.use('Agg')

RIGHT, WRONG, GIVEN = '#1e8449', '#c0392b', '#2c3e50'
MOST_QUERIES = 10  # of a task


def tasks(
    path: pathlib.Path, support: np.ndarray, support_class: np.ndarray,
    query: np.ndarray, query_class: np.ndarray, before: np.ndarray,
    after: np.ndarray
) -> None:
  """Draws the images of a few tasks, the answers below, right or wrong.

  One row a task: one support image of each class, then query images, each with
  the class that was said before and after adaptation: the wrong ones, as far
  as there is room, and others, spread over the classes.

  Args:
    path: of the picture.
    support: [B, N, h, w].
    support_class: [B, N].
    query: [B, M, h, w].
    query_class: [B, M].
    before: [B, M], class said before adaptation.
    after: [B, M], and after.
  """
  way = int(support_class.max()) + 1
  columns = way + min(MOST_QUERIES, query.shape[1])
  aspect = query.shape[3] / query.shape[2]
  inches = 0.9 * aspect**0.5  # an image's width
  figure, axes = plt.subplots(
      len(query), columns, squeeze=False,
      figsize=(inches * columns, (inches / aspect + 0.6) * len(query) + 0.4))
  for i, row in enumerate(axes):
    for label, axis in enumerate(row[:way]):
      first = int(np.argmax(support_class[i] == label))
      _image(axis, support[i, first], GIVEN)
      axis.set_title(f'class {label + 1}', fontsize=7, color=GIVEN)
    chosen = _choose(after[i] == query_class[i], columns - way)
    for n, axis in zip(chosen, row[way:]):
      truth = query_class[i, n]
      _image(axis, query[i, n], _color(after[i, n] == truth))
      axis.set_title(f'before: {before[i, n] + 1}', fontsize=7,
                     color=_color(before[i, n] == truth))
      right = after[i, n] == truth
      axis.set_xlabel(
          f'after: {after[i, n] + 1}' + ('' if right else f', is {truth + 1}'),
          fontsize=7, color=_color(right))
    hits = np.mean(after[i] == query_class[i])
    row[0].set_ylabel(f'{100 * hits:.0f} % right', fontsize=7)
  figure.suptitle(
      'support set (class), then queries, the wrong ones among them: class '
      'said before and after adaptation, green where right', fontsize=8)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.tight_layout()
  figure.savefig(path, dpi=130)
  plt.close(figure)


def _choose(right, number):
  """Returns so many queries of a task in order, of `right` [M]."""
  wrong, others = np.flatnonzero(~right)[:number], np.flatnonzero(right)
  spread = np.linspace(0, max(len(others) - 1, 0), number - len(wrong))
  return np.sort(np.concatenate([wrong, others[spread.astype(int)]]))


def _color(right):
  return RIGHT if right else WRONG


def _image(axis, image, color):
  axis.imshow(image, cmap='gray_r')
  axis.set(xticks=[], yticks=[])
  for spine in axis.spines.values():
    spine.set_color(color)
    spine.set_linewidth(1.5)
