"""Sphinx configuration: `python -m sphinx -W docs OUT` builds the pages."""

import os
import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

# Kernels of the code cells inherit these; they run on the CPU, in the root.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))

import generate  # noqa: E402  (beside this file; needs the path above)

project = 'meta-analog'
author = 'the authors of meta-analog'
copyright = author
html_title = 'meta-analog'

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
]
exclude_patterns = ['_build', 'README.md']
suppress_warnings = ['config.cache']  # functions among the settings below

# Code cells run each time; a cell that fails, or hangs, fails the build.
nb_execution_mode = 'force'
nb_execution_timeout = 400  # seconds, of one cell
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = 'remove'
myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 3

default_role = 'code'
highlight_language = 'none'
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True

html_theme = 'sphinx_book_theme'
html_static_path = ['_static']
html_css_files = ['custom.css']
html_theme_options = {
    'show_toc_level': 2,
    'use_download_button': False,
    'use_fullscreen_button': False,
}


def setup(app):
  """Writes the generated pages, and reads docstrings as this house writes."""
  generate.write(DOCS / 'generated')
  app.connect('autodoc-process-docstring', generate.docstring, priority=100)
  app.connect('autodoc-skip-member', generate.skip)
