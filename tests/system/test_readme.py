"""The README's facts: links, commands, packages and the example hold."""

import pathlib
import re

import jax.numpy as jnp

ROOT = pathlib.Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text()
FLAGS = ('config', 'mode', 'workdir')  # of launch/main.py, named there


def test_the_readme_has_at_most_150_lines():
  assert len(README.splitlines()) <= 150


def test_every_link_and_image_of_the_readme_exists():
  targets = re.findall(r'\]\(([^)]+)\)', README)
  assert len(targets) >= 6
  for target in targets:
    assert (ROOT / target).is_file(), target


def test_commands_of_the_readme_name_files_flags_and_variants_that_exist():
  commands = re.findall(r'^    (?:.*&& )?(python .+)$', README, re.M)
  assert len(commands) >= 5
  for command in commands:
    for path in re.findall(r'\blaunch/\w+\.py', command):
      assert (ROOT / path).is_file(), command
    for path, variant in re.findall(
        r'--config (configs/\w+\.py)(?::(\w+))?', command):
      assert f"'{variant}': " in (ROOT / path).read_text() or not variant
    for flag in re.findall(r'--(\w+)(?:[ =]|$)', command):
      assert flag in FLAGS, command


def test_every_extra_that_the_readme_installs_is_declared():
  extras = re.findall(r"'\.\[(\w+)\]'", README)
  assert extras
  for extra in extras:
    assert f"'{extra}': [" in (ROOT / 'setup.py').read_text(), extra


def test_the_package_table_of_the_readme_holds_every_package():
  section = README.partition('## Packages')[2].partition('\n## ')[0]
  packages = {path.parent.name
              for path in (ROOT / 'meta_analog').glob('*/__init__.py')}
  assert set(re.findall(r'^\| `(\w+)` ', section, re.M)) == packages


def test_the_example_of_the_readme_runs_and_another_key_is_another_chip():
  block = re.search(r'```python\n(.*?)```', README, re.S)[1]
  names = {}
  exec(compile(block, 'README.md', 'exec'), names)
  outputs = names['outputs']
  assert outputs.shape == (3, 8)
  key = names['jax'].random.key
  same = names['net'].apply(names['params'], key(1), names['x'])
  other = names['net'].apply(names['params'], key(2), names['x'])
  assert bool(jnp.all(same == outputs)) and bool(jnp.all(other != outputs))
