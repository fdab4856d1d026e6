"""Traced programs that outlive the process, for a start without tracing.

jax keeps what it compiles (`compilation`), but knows it again by the program's
text, for which Python has to trace it: 3 of the 4 to 5 s until the step of
configs/pcm.py is there a second time (2 cores of an Intel Xeon). So the text is
kept too, by `jax.export`, in the same folder, and the step is there in 1.2 to
1.7 s. On a CPU it ends in the same bits as one that is not kept.

A text is found by all that it hangs on, and one that hangs on more must not be
kept: see `lower`.
"""

from collections.abc import Callable
import contextlib
import hashlib
import os
import pathlib
import site
import struct
import sys
import sysconfig
import time
from typing import Any

import jax
from jax import export
import ml_collections

from meta_analog.runtime import compilation
from meta_analog.runtime import environment

HERE = pathlib.Path(__file__).parents[1]
# Unix time when this process had not yet read any source, but for one that
# takes half a minute to import them. A younger file may not be what it runs.
BEGAN_S = time.time() - 30.0
# Of a program that cannot be kept, such as one that calls Python, of a value of
# a config that JSON lacks, or of what is not a text for these devices.
CANNOT = (ImportError, LookupError, NotImplementedError, TypeError, ValueError,
          struct.error)


def lower(
    fn: Callable[..., Any], name: str, config: ml_collections.ConfigDict,
    args: tuple[Any, ...], kwargs: dict[str, Any], data: Any
) -> jax.stages.Lowered:
  """Returns fn.lower(*args, **kwargs), traced by the first process alone.

  The text must hang on nothing but the name, the config without its seed, the
  sources (this package, what is installed, and every other module, such as the
  config file), the settings of jax, the devices, and the shapes, types and
  places of the arguments. So not on the content of other files, nor on what a
  script set in a module.

  It is traced and not kept where no programs are kept, where the task has data,
  which come from files, where several processes are one run, where something
  was typed in, where a source cannot be read or may have changed since this
  process read it, and where `jax.export` cannot.

  Args:
    fn: of `jax.jit` with `compilation.options` of the config and no static
      arguments; returns dictionaries, sequences and named tuples that are among
      its arguments.
    name: of what fn computes, for a config.
    config: checked.
    args: of fn.
    kwargs: of fn.
    data: of the task.

  Returns:
    What is to be compiled and called with arguments alike.
  """
  folder, lowered = compilation.folder(), None
  if (folder is not None and jax.process_count() == 1
      and not jax.tree.leaves(data)):
    with contextlib.suppress(*CANNOT):
      lowered = _lower_text(
          _text(folder, fn, name, config, args, kwargs), config, args, kwargs)
  if lowered is None:
    return fn.lower(*args, **kwargs)
  return lowered


def _text(folder, fn, name, config, args, kwargs):
  """Returns the serialized text, of this process or of one before."""
  _name_tuples((args, kwargs))
  sources, entry = _sources(), None
  if sources is not None:
    digest = _digest(name, config, (args, kwargs), sources)
    entry = folder / f'traced-{digest}'
    if entry.exists():
      return entry.read_bytes()
  text = bytes(export.export(fn)(*args, **kwargs).serialize())
  # Tracing may have imported more.
  if entry is not None and _sources() == sources:
    entry.write_bytes(text)
  return text


def _lower_text(text, config, args, kwargs):
  """Returns a text lowered, by which jax knows what it has compiled.

  So the process that has just traced it does the same as later ones.
  """
  call = export.deserialize(bytearray(text)).call
  call = jax.jit(call, compiler_options=compilation.options(config))
  return call.lower(*args, **kwargs)


def _digest(name, config, arguments, sources):
  """Returns a hash of all that a text hangs on."""
  values = ml_collections.ConfigDict(config.to_dict())
  del values['seed']  # Keys are arguments.
  leaves, tree = jax.tree.flatten(arguments)
  of_jax = {name: value for name, value in sorted(jax.config.values.items())
            if name != 'jax_compilation_cache_dir'}
  facts = (
      name, values.to_json(sort_keys=True), sys.version, environment.versions(),
      of_jax, [(d.platform, d.device_kind, d.id) for d in jax.devices()],
      str(tree), [(str(jax.typeof(leaf)), getattr(leaf, 'committed', None),
                   str(getattr(leaf, 'sharding', None))) for leaf in leaves])
  return hashlib.sha256(f'{facts!r}{sources}'.encode()).hexdigest()


def _sources():
  """Returns a hash of all files that what is traced may come from.

  Of what is installed it is of names, versions and when they were installed.
  None where the files may not be what this process runs.
  """
  if hasattr(sys, 'ps1') or not hasattr(sys.modules['__main__'], '__file__'):
    return None
  digest = hashlib.sha256(repr(_distributions()).encode())
  try:
    for path in sorted(_own()):
      status = path.stat()
      # A file that takes the place of another may bring an old mtime along.
      if max(status.st_mtime, status.st_ctime) > BEGAN_S:
        return None
      digest.update(f'\n{path} {status.st_size}\n'.encode())
      digest.update(path.read_bytes())
  except OSError:
    return None
  return digest.hexdigest()


def _own():
  """Returns files of this package, and of modules that nobody installed."""
  found = {pathlib.Path(folder, name) for folder, _, names in os.walk(HERE)
           if not folder.endswith('__pycache__') for name in names}
  installed = tuple(os.path.join(folder, '') for folder in _installed())
  for module in list(sys.modules.values()):
    name = getattr(module, '__file__', None)
    if name and not os.path.abspath(name).startswith(installed):
      found.add(pathlib.Path(os.path.abspath(name)))
  return found


def _distributions():
  """Returns names with versions of what is installed, and times, ns."""
  found = []
  for folder in _installed():
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
      found += sorted((entry.name, entry.stat().st_mtime_ns) for entry
                      in entries if entry.name.endswith('.dist-info'))
  return found


def _installed():
  """Returns the folders of Python's modules and of installed ones."""
  return sorted({sysconfig.get_path(name) for name in (
      'stdlib', 'platstdlib', 'purelib', 'platlib')} | {
          site.getusersitepackages()})


def _name_tuples(tree):
  """Gives each kind of named tuple in a pytree a name, as `jax.export` asks."""
  def visit(node):
    kind = type(node)
    if isinstance(node, tuple) and hasattr(kind, '_fields'):
      with contextlib.suppress(ValueError):  # It has one.
        export.register_namedtuple_serialization(
            kind, serialized_name=f'{kind.__module__}.{kind.__qualname__}')
    return False  # none is a leaf for that

  jax.tree.flatten(tree, is_leaf=visit)
