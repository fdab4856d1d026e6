"""Figure of a few tested tasks of images, with the network's answers."""

import pathlib

import numpy as np

from meta_analog.reporting import style

SMALL = 7  # points, of the words at an image
MOST_CLASSES = 5  # of a task, whose support images are drawn
MOST_QUERIES = 10  # of a task


def tasks(
    path: pathlib.Path, support: np.ndarray, support_class: np.ndarray,
    query: np.ndarray, query_class: np.ndarray, before: np.ndarray,
    after: np.ndarray
) -> None:
  """Draws the images of a few tasks, the answers below, right or wrong.

  One row a task: one support image of each of the first classes, then query
  images, each with the class predicted before and after adaptation: wrong ones
  and others, spread over the classes, in the proportion of these tasks.

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
  shown = min(way, MOST_CLASSES)
  columns = shown + min(MOST_QUERIES, query.shape[1])
  aspect = query.shape[3] / query.shape[2]
  inches = 0.72 * aspect**0.5  # an image's width
  size = inches * columns, (inches / aspect + 0.6) * len(query) + 0.4
  with style.figure(path, len(query), columns, figsize=size) as (figure, axes):
    right = after == query_class
    for i, (row, num_wrong) in enumerate(
        zip(axes, _shares(right, columns - shown))):
      _support(row[:shown], support[i], support_class[i])
      chosen = _choose(right[i], columns - shown, num_wrong)
      for n, axis in zip(chosen, row[shown:]):
        _query(
            axis, query[i, n], query_class[i, n], before[i, n], after[i, n])
      row[0].set_ylabel(
          f'{100 * np.mean(right[i]):.0f} % right', fontsize=SMALL)
    figure.suptitle(
        f'support set ({shown} of {way} classes), then queries, right and '
        f'wrong in the proportion of these tasks ({100 * np.mean(right):.0f} % '
        'right):\npredicted class before and after adaptation, green where '
        'right',
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


def _shares(right, number):
  """Returns how many of each task's `number` drawn queries are wrong, [B].

  Of all that are drawn as many are wrong as in the tasks, to the nearest.

  Args:
    right: [B, M].
    number: of queries of a task that are drawn.
  """
  until = np.rint(number * np.cumsum(np.mean(~right, axis=1))).astype(int)
  return np.diff(until, prepend=0)


def _choose(right, number, num_wrong):
  """Returns so many queries of a task in order, spread over its classes.

  Args:
    right: [M].
    number: of queries.
    num_wrong: of them; at most as many as there are, and as few as can be.
  """
  wrong, others = np.flatnonzero(~right), np.flatnonzero(right)
  num_wrong = max(min(num_wrong, len(wrong)), number - len(others))
  spread = lambda rows, size: rows[
      np.linspace(0, len(rows) - 1, size).astype(int)]
  return np.sort(np.concatenate(
      [spread(wrong, num_wrong), spread(others, number - num_wrong)]))


def _color(right):
  return style.RIGHT if right else style.WRONG


def _image(axis, image, color):
  axis.imshow(image, cmap='gray_r')
  axis.set(xticks=[], yticks=[])
  for spine in axis.spines.values():
    spine.set_visible(True)
    spine.set_color(color)
    spine.set_linewidth(1.5)
