"""The floors: BUILD equals the real imports, and nobody imports upwards."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
OUTSIDE_FLOOR_0 = {'math', 'jax', 'chex', 'collections', 'functools', 'typing'}


def _rules():
  """Returns {name: keywords} of BUILD, which is Python to the parser."""
  rules = {}
  for node in ast.parse((ROOT / 'BUILD').read_text()).body:
    call = getattr(node, 'value', None)
    if isinstance(call, ast.Call) and call.func.id.startswith('py_'):
      keywords = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
      rules[keywords['name']] = keywords
  return rules


def _sources():
  for folder in ('meta_analog', 'configs', 'launch'):
    yield from sorted((ROOT / folder).glob('**/*.py'))


def _imports(path):
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


def _edges(path):
  return {name.replace('.', '/') for name in _imports(path)
          if name.startswith('meta_analog')}


RULES = _rules()
BY_SOURCE = {rule['srcs'][0]: rule for rule in RULES.values()}


@pytest.mark.parametrize(
    'path', list(_sources()), ids=lambda p: str(p.relative_to(ROOT)))
def test_build_lists_exactly_the_real_imports(path):
  rule = BY_SOURCE[str(path.relative_to(ROOT))]
  listed = {dep.removeprefix(':') for dep in rule.get('deps', ())}
  assert listed == _edges(path)


def test_build_names_no_file_that_is_not_there():
  assert set(BY_SOURCE) == {str(p.relative_to(ROOT)) for p in _sources()}


@pytest.mark.parametrize('name', sorted(RULES))
def test_no_file_imports_from_a_floor_above(name):
  floor = lambda rule: int(rule.get('tags', ['floor4'])[0][-1])
  for dep in RULES[name].get('deps', ()):
    assert floor(RULES[dep.removeprefix(':')]) <= floor(RULES[name])


def test_imports_have_no_circle():
  seen, path = set(), []

  def visit(name):
    assert name not in path, f'circle: {path + [name]}'
    if name not in seen:
      seen.add(name)
      path.append(name)
      for dep in RULES[name].get('deps', ()):
        visit(dep.removeprefix(':'))
      path.pop()

  for name in RULES:
    visit(name)


def test_floor_0_uses_jax_and_chex_only():
  for name, rule in RULES.items():
    if rule.get('tags') == ['floor0']:
      outside = {module.split('.')[0] for module in _imports(
          ROOT / rule['srcs'][0]) if not module.startswith('meta_analog')}
      assert outside <= OUTSIDE_FLOOR_0, name


@pytest.mark.parametrize('package, files', [
    ('haiku', {'meta_analog/networks.py'}),
    ('optax', {'meta_analog/pretraining.py', 'meta_analog/showcase.py',
               'meta_analog/training.py'}),
    ('orbax', {'meta_analog/checkpoints.py'}),
    ('etils', {'meta_analog/compilation.py'}),
    ('matplotlib', {'meta_analog/device_figures.py',
                    'meta_analog/figures.py',
                    'meta_analog/grid_figure.py',
                    'meta_analog/image_figures.py'}),
    ('PIL', {'meta_analog/tasks/omniglot_files.py'}),
    ('pooch', {'meta_analog/tasks/storage.py'}),
])
def test_a_library_is_imported_in_its_room_only(package, files):
  users = {str(p.relative_to(ROOT)) for p in _sources() if any(
      module.split('.')[0] == package for module in _imports(p))}
  assert users == files


def test_maml_sees_no_physics():
  assert _edges(ROOT / 'meta_analog/maml.py') == {'meta_analog/base'}
