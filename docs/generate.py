"""Pages that are made from the code when the documentation is built.

The API pages list every public module of a package; the reference of the
config and of the command line come from the code that reads them.
"""

import ast
import importlib
import inspect
import io
import pathlib
import re
import subprocess
import sys
import textwrap
import tokenize

import meta_analog
from meta_analog import cli
from meta_analog.config import reference

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'meta_analog'
SECTION = re.compile(r'(Args|Returns|Raises|Attributes|Yields):$')


def write(folder: pathlib.Path) -> None:
  """Writes all generated pages into a folder of the documentation."""
  folder.mkdir(exist_ok=True)
  pages = {'command_line.md': command_line(), 'config.md': config()}
  names = sorted(p.parent.name for p in PACKAGE.glob('*/__init__.py'))
  for name in names:
    pages[f'api_{name}.rst'] = api(name)
  pages['names.md'] = public_names()
  pages['api_testing.rst'] = module_page('meta_analog.testing')
  for name, text in pages.items():
    path = folder / name
    if not path.is_file() or path.read_text() != text:
      path.write_text(text)


def api(name: str) -> str:
  """Returns the page of one package: each module, with its public members."""
  subject = inspect.getdoc(importlib.import_module(f'meta_analog.{name}'))
  title = f'meta_analog.{name}'
  lines = [title, '=' * len(title), '', _plain(subject), '']
  for path in sorted((PACKAGE / name).glob('*.py')):
    if path.stem.startswith('_'):
      continue
    module = f'{title}.{path.stem}'
    lines += [path.stem, '-' * len(path.stem), '',
              f'.. automodule:: {module}', '   :members:', '']
  return '\n'.join(lines)


def module_page(module: str) -> str:
  """Returns the page of one module."""
  return '\n'.join([module, '=' * len(module), '',
                    f'.. automodule:: {module}', '   :members:', ''])


def public_names() -> str:
  """Returns the table of what `import meta_analog` offers."""
  lines = ['# Public names', '', *NAMES.strip().splitlines(), '',
           '| name | where it is defined | what |', '| --- | --- | --- |']
  for name in meta_analog.__all__:
    value = getattr(meta_analog, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
      continue
    first = (inspect.getdoc(value) or '').partition('\n\n')[0]
    first = ' '.join(first.split()).replace('|', '/')
    lines.append(f'| `{name}` | `{value.__module__}` | {first} |')
  return '\n'.join(lines) + '\n'


NAMES = """
`import meta_analog as ma` takes little time and starts no backend of jax: each
name is imported when it is first used. The packages are there too, such as
`ma.devices`.
"""


def command_line() -> str:
  """Returns what every command prints for --help."""
  lines = ['# Command line', '', *INTRODUCTION.strip().splitlines(), '',
           '```text', _help(), '```', '']
  for name in cli.COMMANDS:
    lines += [f'## {name}', '', '```text', _help(name), '```', '']
  return '\n'.join(lines)


INTRODUCTION = """
An installation has the console command `meta-analog`. In a checkout the scripts
in `launch/` are the same commands: `launch/main.py` is `train` and, with
`--mode=evaluate`, `evaluate`. Below is what each prints for `--help`.
"""


def _help(*command):
  """Returns what the console command prints for --help."""
  done = subprocess.run(
      [sys.executable, '-m', 'meta_analog.cli', *command, '--help'], cwd=ROOT,
      text=True, check=True, capture_output=True)
  return done.stdout.strip()


def config() -> str:
  """Returns the reference of every config field."""
  return reference.markdown()


def docstring(app, what, name, obj, options, lines) -> None:
  """Turns a docstring of this house into reStructuredText, in place.

  Indented blocks are equations and tables as they stand; single backticks are
  code; no other character is markup.
  """
  del app, name, options
  text = _sections(lines)
  fields = _fields(obj) if what == 'class' else []
  lines[:] = [*text, '', *fields] if fields else text


def skip(app, what, name, obj, skipped, options):
  """Leaves out the fields of named tuples, which their class lists itself."""
  del app, what, name, options
  if 'Alias for field number' in str(getattr(obj, '__doc__', '')):
    return True
  return skipped


def _sections(lines):
  """Returns lines in which blocks outside of sections and lists are literal."""
  result, section, block, item = [], False, False, False
  for line in lines:
    if SECTION.match(line):
      section, item = True, False
    elif line and not line.startswith(' ') and result[-1:] != ['']:
      pass  # the paragraph goes on
    elif line and not line.startswith(' '):
      section, item = False, line.startswith('* ')
    if line.startswith('* '):
      item = True
    if line and not line.startswith(' ') and block:
      result += [''] if result[-1] else []
      block = False
    if line.startswith(' ') and not section and not item and not block:
      result += ['', '::', ''] if result[-1:] != [''] else ['::', '']
      block = True
    if block or not line.startswith('* '):
      result.append(line if block else _plain(line))
    else:
      result.append('* ' + _plain(line[2:]))
  return result


def _plain(line):
  """Returns a line of prose in which only code in backticks is markup."""
  parts = re.split(r'(`+[^`]+`+)', line)
  for i, part in enumerate(parts):
    if i % 2:
      parts[i] = f'``{part.strip("`")}``'
    else:
      parts[i] = re.sub(r'([*|\\])', r'\\\1', part)
      parts[i] = re.sub(r'(?<=\w)_(?=\W|$)', r'\\_', parts[i])
  return ''.join(parts)


def _fields(obj):
  """Returns the fields of a named tuple, each with its comment, as a list."""
  if not (isinstance(obj, type) and issubclass(obj, tuple)
          and hasattr(obj, '_fields')):
    return []
  try:
    source = textwrap.dedent(inspect.getsource(obj))
  except (OSError, TypeError):
    return []
  comments = {}
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type == tokenize.COMMENT:
      comments[token.start[0]] = token.string.lstrip('# ')
  lines = ['Fields:', '']
  for node in ast.parse(source).body[0].body:
    if not isinstance(node, ast.AnnAssign):
      continue
    found = [comments[i] for i in range(node.lineno, node.end_lineno + 1)
             if i in comments]
    default = f' = {ast.unparse(node.value)}' if node.value else ''
    kind = ast.unparse(node.annotation)
    text = f': {_plain(" ".join(found))}' if found else ''
    lines.append(f'* ``{node.target.id}: {kind}{default}``{text}')
  return [*lines, '']
