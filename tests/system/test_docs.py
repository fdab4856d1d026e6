"""The documentation: pages are reached, and a tutorial's claims hold."""

import pathlib
import re

import jax.numpy as jnp
import matplotlib
import pytest

DOCS = pathlib.Path(__file__).parents[2] / 'docs'


def _run_cells(page):
  """Returns the names that the code cells of a page define."""
  cells = re.findall(r'```\{code-cell\}\n(.*?)```', page.read_text(), re.S)
  assert cells
  code = '\n'.join(re.sub(r'^:tags:.*\n', '', cell) for cell in cells)
  matplotlib.use('agg')
  names = {}
  exec(compile(code, str(page), 'exec'), names)
  return names


def test_every_page_is_in_the_table_of_contents():
  index = (DOCS / 'index.md').read_text()
  listed = set(re.findall(r'^(\w+/\w+)$', index, re.M))
  pages = {f'{path.parent.name}/{path.stem}' for path in DOCS.glob('*/*.md')}
  generated = {'generated/config', 'generated/command_line'}
  assert listed - generated == pages - {
      name for name in pages if name.startswith('generated/')}


def test_every_row_of_results_is_followed_by_its_seeds_and_commits():
  for path in sorted((DOCS / 'results').glob('*.md')):
    for table in path.read_text().split('**What was run**')[1:]:
      rows = [line for line in table.strip().splitlines()[2:]
              if line.startswith('| ')][:1]
      assert rows and re.search(r'`[0-9a-f]{10}`', rows[0]), path.name
      assert re.search(r'\| \d+(, \d+)* \|', rows[0]), path.name


@pytest.mark.slow
def test_the_array_of_the_tutorial_is_programmed_to_tolerance_from_reset():
  names = _run_cells(DOCS / 'tutorials' / 'program_array.md')
  assert names['info']['converged'] > 0.999
  rms_uS = float(jnp.sqrt(jnp.mean(jnp.square(names['error_uS']))))
  assert 0.3 < rms_uS < 0.6
  blind_uS = names['blind_uS'] - names['target_uS']
  assert float(jnp.sqrt(jnp.mean(jnp.square(blind_uS)))) > 2.0 * rms_uS
  assert bool(jnp.all(names['crossbar'].usage.num_resets >= 1))
