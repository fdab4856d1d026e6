"""Traced programs that outlive the process, for a start without tracing.

jax keeps what it compiles (`compilation`), but knows it again by the program's
text, for which Python has to trace it: 2.9 of the 4.1 s until the step of
configs/pcm.py is there a second time (2 cores of an Intel Xeon). So the text is
kept too, by `jax.export`, in the same folder, and the step is there in 1.2 s.
It is the same text that is compiled with and without, so the same bits.

A text is found by all that it hangs on, and one that hangs on more is never
kept: see `lower`.
"""

from collections.abc import Callable
import hashlib
import json
import pathlib
import sys
import sysconfig
import time
from typing import Any

import jax
from jax import export
import ml_collections

from meta_analog import compilation
from meta_analog import environment

HERE = pathlib.Path(__file__).parent
INSTALLED = ('stdlib', 'platstdlib', 'purelib', 'platlib')
# Unix time when this process had not yet read any source, but for one that
# takes half a minute to import them. A younger file may not be what it runs.
BEGAN_S = time.time() - 30.0


def lower(
    fn: Callable[..., Any], name: str, config: ml_collections.ConfigDict,
    args: tuple[Any, ...], kwargs: dict[str, Any],
    compiler_options: dict[str, Any]
) -> jax.stages.Lowered:
  """Returns fn.lower(*args, **kwargs), traced by the first process alone.

  The text must hang on nothing but the name, the config without its seed, the
  sources (of this package, and of every module that is neither Python's nor
  installed, such as the config file), the versions of packages, the settings of
  jax, the devices, and the shapes, types and places of the arguments. So not on
  what was read from other files, nor on what was typed into an interpreter.

  It is traced and not kept where no programs are kept, where several processes
  are one run, where there is no main file, where a source cannot be read or may
  have changed since this process read it, and where `jax.export` cannot.

  Args:
    fn: of `jax.jit`, without static arguments; returns dictionaries, sequences
      and named tuples that are among its arguments.
    name: of what fn computes, for a config.
    config: checked.
    args: of fn.
    kwargs: of fn.
    compiler_options: that fn was given.

  Returns:
    What is to be compiled and called with arguments alike.
  """
  folder = compilation.folder()
  if folder is None or jax.process_count() > 1:
    return fn.lower(*args, **kwargs)
  arguments, sources = (args, kwargs), _sources()
  _name_tuples(arguments)
  entry = sources and (
      folder / f'traced-{_digest(name, config, arguments, sources)}')
  if entry and entry.exists():
    traced = entry.read_bytes()
  else:
    try:
      traced = bytes(export.export(fn)(*args, **kwargs).serialize())
    except (NotImplementedError, ValueError):
      # It calls Python, or what is not promised to mean the same later.
      return fn.lower(*args, **kwargs)
    if entry:
      entry.write_bytes(traced)
  # If just traced as well: jax knows what it has compiled by this text.
  call = export.deserialize(bytearray(traced)).call
  return jax.jit(call, compiler_options=compiler_options).lower(*args, **kwargs)


def _digest(name, config, arguments, sources):
  """Returns a hash of all that a text hangs on."""
  values = json.loads(config.to_json_best_effort())
  del values['seed']  # Keys are arguments.
  leaves, tree = jax.tree.flatten(arguments)
  of_jax = {name: value for name, value in sorted(jax.config.values.items())
            if name != 'jax_compilation_cache_dir'}
  facts = (
      name, json.dumps(values, sort_keys=True), sys.version,
      environment.versions(), of_jax,
      [(d.platform, d.device_kind, d.id) for d in jax.devices()], str(tree),
      [(str(jax.typeof(leaf)), getattr(leaf, 'committed', None),
        str(getattr(leaf, 'sharding', None))) for leaf in leaves])
  return hashlib.sha256(f'{facts!r}{sources}'.encode()).hexdigest()


def _sources():
  """Returns a hash of this package and of modules that nobody installed.

  None where that may not be what this process runs.
  """
  if not hasattr(sys.modules['__main__'], '__file__'):
    return None
  digest = hashlib.sha256()
  try:
    for path in sorted(_files()):
      if path.stat().st_mtime > BEGAN_S:
        return None
      content = path.read_bytes()
      digest.update(f'{path} {len(content)}\n'.encode() + content)
  except OSError:
    return None
  return digest.hexdigest()


def _files():
  """Returns the paths of these files."""
  found = {path for path in HERE.rglob('*') if path.suffix in ('.py', '.json')}
  installed = [sysconfig.get_path(name) for name in INSTALLED]
  for module in list(sys.modules.values()):
    path = pathlib.Path(getattr(module, '__file__', None) or '').absolute()
    if path.suffix == '.py' and not any(map(path.is_relative_to, installed)):
      found.add(path)
  return found


def _name_tuples(tree):
  """Gives each kind of named tuple in a pytree a name, as `jax.export` asks."""
  def visit(node):
    kind = type(node)
    if isinstance(node, tuple) and hasattr(kind, '_fields'):
      try:
        export.register_namedtuple_serialization(
            kind, serialized_name=f'{kind.__module__}.{kind.__qualname__}')
      except ValueError:
        pass  # It has one.
    return False  # none is a leaf for that

  jax.tree.flatten(tree, is_leaf=visit)
