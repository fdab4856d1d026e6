"""Terminal output: what is printed on a screen, in a pipe or in a log file."""

import contextlib
import os
import sys
import textwrap
from typing import Any
from typing import TextIO

import rich.box
import rich.console
import rich.table


class Console(rich.console.Console):
  """Prints texts as they are, whatever reads them.

  On a screen lines break between words, and never within one. In a pipe or a
  file they do not break, and tables are plain Markdown. Where the reader of a
  pipe has left, nothing is printed any more, and the program continues.
  """

  def print(self, *objects: Any, **kwargs: Any) -> None:
    """Prints texts and tables, see `rich.console.Console.print`."""
    if not self.is_terminal:
      for table in objects:
        if isinstance(table, rich.table.Table):
          table.box = rich.box.MARKDOWN
    elif all(isinstance(text, str) for text in objects):
      objects = (_broken(' '.join(objects), self.width),)
      kwargs['soft_wrap'] = True  # It is done.
    super().print(*objects, **kwargs)

  def on_broken_pipe(self) -> None:
    """Prints nothing from here on."""
    self.quiet = True
    null = os.open(os.devnull, os.O_WRONLY)  # for what is flushed at the end
    os.dup2(null, self.file.fileno())
    os.close(null)


def _broken(text, width):
  """Returns a text whose lines are broken between words alone."""
  return '\n'.join(
      textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
      for line in text.split('\n'))


def console(file: TextIO | None = None, *, quiet: bool = False) -> Console:
  """Returns what prints to stdout, or nowhere where it is closed.

  Args:
    file: to print to instead.
    quiet: whether nothing is printed.
  """
  file = file or sys.stdout
  if file is None:
    file, quiet = open(os.devnull, 'w'), True
  with contextlib.suppress(AttributeError, OSError, ValueError):
    file.reconfigure(errors='replace')  # of a terminal that knows only ASCII
  return Console(file=file, highlight=False, markup=False, emoji=False,
                 soft_wrap=not file.isatty(), quiet=quiet)
