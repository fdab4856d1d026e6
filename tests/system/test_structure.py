"""Structure: the rule of imports, BUILD, lengths, and the list of mutants."""

import ast
import pathlib
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / 'meta_analog'

# Package: what it may import. The order is that of the floors, from below.
ALLOWED = {'core': set()}
ALLOWED |= {name: {'core'} for name in (
    'runtime', 'devices', 'crossbar', 'reporting')}
ALLOWED['tasks'] = {'core', 'runtime'}
ALLOWED['programming'] = {'core', 'crossbar'}
ALLOWED['networks'] = {'core', 'crossbar', 'programming'}
ALLOWED['learning'] = ALLOWED['networks'] | {'networks'}
ALLOWED['config'] = ALLOWED['learning'] | {'devices', 'tasks', 'learning'}
ALLOWED['training'] = {
    'core', 'runtime', 'tasks', 'networks', 'learning', 'config'}
ALLOWED['evaluation'] = ALLOWED['learning'] | {
    'runtime', 'reporting', 'devices', 'learning', 'config'}
BELOW = set(ALLOWED)
ALLOWED['experiment'] = BELOW
ALLOWED['benchmarks'] = BELOW
ALLOWED['studies'] = BELOW | {'experiment'}

# Library from outside: the only files that import it.
LIBRARIES = {
    'haiku': {'learning/transforms.py', 'networks/modules.py'},
    'optax': {'training/pretraining.py', 'experiment/figure_data.py',
              'training/meta_training.py'},
    'orbax': {'runtime/checkpoints.py'},
    'matplotlib': {'reporting/style.py'},
    'PIL': {'tasks/omniglot_files.py'},
    'pooch': {'tasks/data_cache.py'},
}
MAX_FILE_LINES, MAX_BODY_LINES = 300, 40
CORE_LIBRARIES = {'collections', 'chex', 'functools', 'jax', 'math', 'typing'}


def sources():
  return [path for path in sorted(PACKAGE.glob('*/**/*.py'))
          if path.name != '__init__.py']


def imported(path):
  """Returns the imported modules, as dotted names."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      inside = node.module.split('.')[0] == 'meta_analog'
      found |= ({f'{node.module}.{alias.name}' for alias in node.names}
                if inside else {node.module})
  return found


def inner(path):
  """Returns the imported modules of this project, as 'package/module'."""
  return {'/'.join(name.split('.')[1:3]) for name in imported(path)
          if name.startswith('meta_analog.')}


def name_of(path):
  return str(path.relative_to(PACKAGE).with_suffix(''))


def package_of(path):
  return path.relative_to(PACKAGE).parts[0]


def upward():
  """Returns the imports that the table does not allow."""
  return {(str(path.relative_to(PACKAGE)), target)
          for path in sources()
          for target in {name.split('/')[0] for name in inner(path)}
          if target not in ALLOWED[package_of(path)] | {package_of(path)}}


def test_packages_import_only_what_the_table_allows():
  assert upward() == set()


def test_every_package_stands_in_the_table():
  assert set(ALLOWED) == {path.parent.name
                          for path in PACKAGE.glob('*/__init__.py')}


def test_files_import_without_a_circle():
  edges = {name_of(path): inner(path) for path in sources()}
  seen, path = set(), []

  def visit(name):
    assert name not in path, f'circle: {[*path, name]}'
    if name not in seen:
      seen.add(name)
      path.append(name)
      for target in edges.get(name, ()):
        visit(target)
      path.pop()

  for name in edges:
    visit(name)


def test_core_uses_jax_and_chex_only():
  for path in (PACKAGE / 'core').glob('*.py'):
    outside = {name.split('.')[0] for name in imported(path)}
    assert outside <= CORE_LIBRARIES | {'meta_analog', 'numpy'}, path.name


@pytest.mark.parametrize('library', sorted(LIBRARIES))
def test_a_library_is_imported_in_its_files_only(library):
  users = {str(path.relative_to(PACKAGE)) for path in sources() if any(
      name.split('.')[0] == library for name in imported(path))}
  assert users == LIBRARIES[library]


def test_maml_knows_of_no_physics():
  assert inner(PACKAGE / 'learning/maml.py') <= {'core/types', 'core/clock'}


def rules(path):
  """Returns {name: keywords} of a BUILD file, which is Python to a parser."""
  found = {}
  for node in ast.parse(path.read_text()).body:
    call = getattr(node, 'value', None)
    if isinstance(call, ast.Call) and call.func.id.startswith('py_'):
      keywords = {}
      for keyword in call.keywords:
        try:
          keywords[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:  # a glob
          keywords[keyword.arg] = None
      found[keywords['name']] = keywords
  return found


def long_bodies(path):
  """Yields the functions whose body, docstring aside, is too long."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      first = node.body[ast.get_docstring(node) is not None:][:1]
      if first and node.end_lineno - first[0].lineno >= MAX_BODY_LINES:
        yield f'{path.relative_to(ROOT)}: {node.name}'


def test_no_source_file_or_function_is_long():
  paths = [path for folder in ('meta_analog', 'configs', 'launch', 'tests')
           for path in (ROOT / folder).rglob('*.py')]
  assert not [path for path in paths
              if len(path.read_text().splitlines()) > MAX_FILE_LINES]
  assert not [name for path in paths for name in long_bodies(path)]


def public(path):
  """Yields the public functions, classes and methods of a file."""
  for node in ast.parse(path.read_text()).body:
    if (isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith('_')):
      yield node
      if isinstance(node, ast.ClassDef):
        yield from (x for x in node.body if isinstance(x, ast.FunctionDef)
                    and not x.name.startswith('_'))


def test_public_functions_have_docstrings_and_type_hints():
  for path in PACKAGE.rglob('*.py'):
    for node in public(path):
      where = f'{path.relative_to(ROOT)}: {node.name}'
      assert ast.get_docstring(node), where
      if isinstance(node, ast.FunctionDef):
        arguments = [*node.args.posonlyargs, *node.args.args,
                     *node.args.kwonlyargs]
        assert node.returns and all(
            x.annotation or x.arg in ('self', 'cls') for x in arguments), where


@pytest.mark.parametrize('package', sorted(ALLOWED))
def test_build_lists_exactly_the_packages_that_are_imported(package):
  found = rules(PACKAGE / package / 'BUILD')[package]
  listed = {dep.removeprefix('//meta_analog/') for dep in found.get('deps', ())
            if dep.startswith('//meta_analog/')}
  real = {name.split('/')[0] for path in sources()
          if package_of(path) == package for name in inner(path)}
  assert listed == real - {package}


def test_the_package_ships_no_results_of_other_runs():
  data = {path.suffix for folder in ('meta_analog', 'configs')
          for path in (ROOT / folder).rglob('*') if path.is_file()
          and '__pycache__' not in path.parts and path.name != 'BUILD'}
  assert data == {'.py', '.typed', '.npz'}  # code and parameters


def test_build_of_the_whole_lists_every_package():
  found = rules(PACKAGE / 'BUILD')['meta_analog']
  assert {dep.removeprefix('//meta_analog/') for dep in found['deps']} == {
      *ALLOWED}


def test_no_package_below_config_sees_a_config():
  floors = list(ALLOWED)
  for package in floors[:floors.index('config')]:
    for path in (PACKAGE / package).glob('*.py'):
      assert 'ml_collections' not in imported(path), path.name


def test_every_mutant_can_be_made_and_names_tests_that_exist():
  mutants = tomllib.loads((ROOT / 'tests/mutants.toml').read_text())['mutant']
  assert len(mutants) >= 60
  for mutant in mutants:
    text = (ROOT / mutant['file']).read_text()
    assert text.count(mutant['text']) == 1, mutant
    assert mutant['replacement'] != mutant['text'], mutant
    for test in mutant['tests']:
      path, _, name = test.partition('::')
      assert f'def {name}' in (ROOT / path).read_text(), mutant
