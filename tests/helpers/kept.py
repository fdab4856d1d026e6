"""Programs that are kept, for tests."""

import math
import sys

from meta_analog.runtime import compilation
from meta_analog.runtime import exported_programs


def keep_in(folder, monkeypatch):
  """Keeps programs in a folder; no source is too young to be trusted."""
  # pytest's own workers have no main file.
  monkeypatch.setattr(
      sys.modules['__main__'], '__file__', __file__, raising=False)
  monkeypatch.setattr(compilation, 'folder', lambda: compilation.Entry(folder))
  monkeypatch.setattr(exported_programs, 'BEGAN_S', math.inf)
