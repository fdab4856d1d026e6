"""Figure of a few tested tasks of images, with the network's answers."""

import pathlib

import numpy as np

from meta_analog.reporting import style

SMALL = 7  # points, of the words at an image
MOST_QUERIES = 10  # of a task


def tasks(
    path: pathlib.Path, support: np.ndarray, support_class: np.ndarray,
    query: np.ndarray, query_class: np.ndarray, before: np.ndarray,
    after: np.ndarray
) -> None:
  """Draws the images of a few tasks, the answers below, right or wrong.

  One row a task: one support image of each class, then query images, each with
  the class predicted before and after adaptation: wrong ones and others,
  spread over the classes, in the proportion of the task.

  Args:
    path: of the picture.
    support: [B, N, h, w].
    support_class: [B, N].
    query: [B, M, h, w].
    query_class: [B, M].
    before: [B, M], predicted class before adaptation.
    after: [B, M], and after.
  """
  way = int(support_class.max()) + 1
  columns = way + min(MOST_QUERIES, query.shape[1])
  aspect = query.shape[3] / query.shape[2]
  inches = 0.9 * aspect**0.5  # an image's width
  size = inches * columns, (inches / aspect + 0.6) * len(query) + 0.4
  with style.figure(path, len(query), columns, figsize=size) as (figure, axes):
    for i, row in enumerate(axes):
      right = after[i] == query_class[i]
      _support(row[:way], support[i], support_class[i])
      for n, axis in zip(_choose(right, columns - way), row[way:]):
        _query(axis, query[i, n], query_class[i, n], before[i, n], after[i, n])
      row[0].set_ylabel(f'{100 * np.mean(right):.0f} % right', fontsize=SMALL)
    figure.suptitle(
        'support set (class), then queries, as many of them wrong as in the '
        'test: predicted class before and after adaptation, green where right',
        fontsize=style.SMALL)


def _support(row, images, classes):
  """Draws the first support image of each class."""
  for label, axis in enumerate(row):
    _image(axis, images[int(np.argmax(classes == label))], style.GIVEN)
    axis.set_title(f'class {label + 1}', fontsize=SMALL, color=style.GIVEN)


def _query(axis, image, truth, before, after):
  """Draws a query image, the predicted class before above it, after below."""
  _image(axis, image, _color(after == truth))
  axis.set_title(f'before: {before + 1}', fontsize=SMALL,
                 color=_color(before == truth))
  note = '' if after == truth else f', is {truth + 1}'
  axis.set_xlabel(f'after: {after + 1}{note}', fontsize=SMALL,
                  color=_color(after == truth))


def _choose(right, number):
  """Returns so many queries of a task in order, of `right` [M].

  As many of them are wrong as in the task, but at least one where any is.
  """
  wrong, others = np.flatnonzero(~right), np.flatnonzero(right)
  num_wrong = int(np.ceil(number * len(wrong) / len(right)))
  num_wrong = max(num_wrong, number - len(others))
  spread = np.linspace(0, max(len(others) - 1, 0), number - num_wrong)
  return np.sort(np.concatenate(
      [wrong[:num_wrong], others[spread.astype(int)]]))


def _color(right):
  return style.RIGHT if right else style.WRONG


def _image(axis, image, color):
  axis.imshow(image, cmap='gray_r')
  axis.set(xticks=[], yticks=[])
  for spine in axis.spines.values():
    spine.set_visible(True)
    spine.set_color(color)
    spine.set_linewidth(1.5)
