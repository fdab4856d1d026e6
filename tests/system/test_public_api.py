"""The public names of `import meta_analog`, and the cost of the import."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import meta_analog
from meta_analog.devices import registry

ROOT = pathlib.Path(__file__).parents[2]


def shown_to_type_checkers():
  """Returns {name here: 'module:name there'} of the TYPE_CHECKING block."""
  tree = ast.parse(pathlib.Path(meta_analog.__file__).read_text())
  block = next(node for node in tree.body if isinstance(node, ast.If))
  return {alias.asname: f'{node.module}:{alias.name}'
          for node in block.body for alias in node.names}


def test_importing_it_imports_no_library():
  code = ('import sys, meta_analog; before = {*sys.modules}; '
          'dir(meta_analog); meta_analog.__version__; '
          'print(sorted({name.split(".")[0] for name in sys.modules}))')
  found = subprocess.run([sys.executable, '-c', code], cwd=ROOT, text=True,
                         capture_output=True, check=True).stdout
  for name in ('jax', 'jaxlib', 'haiku', 'numpy', 'matplotlib', 'absl'):
    assert repr(name) not in found


def test_using_names_starts_no_backend():
  code = ('import meta_analog as m\n'
          'for name in m.__all__: getattr(m, name)\n'
          'from jax._src import xla_bridge\n'
          'assert not xla_bridge.backends_are_initialized()\n')
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)


@pytest.mark.parametrize('name', meta_analog.__all__)
def test_every_name_is_there_and_says_what_it_is(name):
  value = getattr(meta_analog, name)
  assert name in dir(meta_analog)
  if name != '__version__':
    first = inspect.getdoc(value).splitlines()[0]
    assert len(first) > 10 and not first.startswith(f'{name}(')


def test_type_checkers_see_what_there_is():
  shown = shown_to_type_checkers()
  assert set(shown) | {'__version__'} == set(meta_analog.__all__)
  for name, where in shown.items():
    module, _, there = where.partition(':')
    expected = getattr(meta_analog, name)
    if module == 'meta_analog':
      assert expected.__name__ == f'meta_analog.{there}'
    else:
      __import__(module)
      assert getattr(sys.modules[module], there) is expected


def test_every_package_is_among_the_names():
  packages = {path.parent.name for path in
              (ROOT / 'meta_analog').glob('*/__init__.py')}
  assert packages - {'configs'} <= set(meta_analog.__all__)


def test_the_parameters_of_every_device_are_among_the_names():
  for name, family in registry.FAMILIES.items():
    kind = type(family.params())
    assert getattr(meta_analog, kind.__name__) is kind, name


def test_an_unknown_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match='no attribute .nothing'):
    _ = meta_analog.nothing
  assert not hasattr(meta_analog, 'nothing')


@pytest.mark.parametrize('name', meta_analog.__all__)
def test_public_functions_have_type_hints(name):
  value = getattr(meta_analog, name)
  if inspect.isfunction(value):
    signature = inspect.signature(value)
    hints = [p.annotation for p in signature.parameters.values()]
    assert inspect.Signature.empty not in [*hints, signature.return_annotation]


def test_versions_agree():
  version = meta_analog.__version__
  for name in ('MODULE.bazel', 'CITATION.cff'):
    assert version in (ROOT / name).read_text()
  assert f'## {version}' in (ROOT / 'CHANGELOG.md').read_text()
