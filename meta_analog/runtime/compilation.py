"""XLA's options and the persistent cache of compiled programs.

jax writes what it compiles to <folder>/<digest of the machine>, limits its size
and compiles anew what it cannot read. Its key for a program is the program's
text with the versions of jax and XLA, so what is traced anew is never stale; it
leaves out the kind of CPU and the number of its cores, which change the last
digits, so each machine has a folder of its own.

A folder of compiled programs is trusted like the program itself: whoever may
write there can run code here.
"""

from collections.abc import Callable
import contextlib
import errno
import functools
import gc
import hashlib
import importlib.util
import os
import pathlib
import re
import tempfile

import filelock
import jax

from meta_analog.core import errors
from meta_analog.runtime import environment

PATTERN = re.compile(r'[*?\[]')  # in the name of a folder
SHORT_RUN = 50  # steps of a training
MAX_BYTES = 2**30  # of a machine's programs
LOCK_S = 10.0  # for another process to look up its program
# On a CPU: the older emitters of small loops, loops that read the same arrays
# as one pass, and small loops not compiled whole. A training step of 1-40-40-1
# takes 1.1 times longer without the first, 1.2 without the second. A version of
# XLA that does not know an extra option ignores it; to do without, name others:
# XLA_FLAGS=--xla_backend_extra_options=none.
EXTRA_OPTIONS = ('--xla_backend_extra_options=xla_cpu_disable_tiled_emitter,'
                 'xla_cpu_use_multi_output_fusion=true,'
                 'xla_cpu_small_while_loop_byte_threshold=1024')


def set_up(folder: str | None, log: Callable[[str], None]) -> None:
  """Sets where jax caches programs, `tune` and `collect_less`.

  To be called before jax compiles anything.

  Args:
    folder: of the cache; made where it is not there. '' caches nothing. None is
      JAX_COMPILATION_CACHE_DIR, where that is set, which jax then looks after
      alone, or else meta_analog/xla under $XDG_CACHE_HOME or ~/.cache.
    log: called with a warning where nothing can be cached.
  """
  collect_less()
  tune()
  if folder is None and os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    return
  jax.config.update('jax_compilation_cache_dir', None)
  if folder == '':
    return
  path = pathlib.Path(folder or _default())
  if not _notices_damage():
    log('Warning: compiled programs are not cached: with the package zstandard '
        'installed jax takes a damaged one for good; JAX_COMPILATION_CACHE_DIR '
        'caches all the same')
    return
  try:
    path = path.expanduser().absolute() / machine()
    if PATTERN.search(str(path)):
      raise OSError(errno.EINVAL, 'jax takes this name for a pattern')
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_torn(path)
  except (OSError, RuntimeError, NotImplementedError) as error:
    # RuntimeError: there is no such home; the last: no locks on this disk.
    log(f'Warning: compiled programs are not cached: {path}: '
        f'{errors.reason(error)}; --cache_dir names another folder')
    return
  for name, value in (
      ('compilation_cache_max_size', MAX_BYTES),
      ('persistent_cache_min_compile_time_secs', 0.0),
      ('persistent_cache_min_entry_size_bytes', -1),
      # XLA's own would lie beside, without a limit.
      ('persistent_cache_enable_xla_caches', 'none')):
    if f'JAX_{name.upper()}' not in os.environ:
      jax.config.update(f'jax_{name}', value)
  jax.config.update('jax_compilation_cache_dir', str(path))


def tune() -> None:
  """Sets the options of XLA that no single program can; before jax compiles.

  What XLA_FLAGS says of its extra options stays, as does the name of a file.
  """
  given = os.environ.get('XLA_FLAGS', '').strip()
  if given[:1] in ('', '-') and (
      EXTRA_OPTIONS.partition('=')[0] not in given):
    os.environ['XLA_FLAGS'] = f'{given} {EXTRA_OPTIONS}'.strip()


def options(num_steps: int) -> dict[str, int | bool]:
  """Returns options for programs that are long to compile, none but on a CPU.

  For a run so short that compiling it takes longest, XLA's older emitters: the
  step of configs/pcm.py compiles in 7 instead of 10 s on 2 idle cores, and then
  runs 1.5 times slower without read noise. Upper levels of optimisation take
  2 s more and give nothing. What XLA_FLAGS says of them stays.

  Args:
    num_steps: of the training that the run is for.

  Returns:
    Options for `jax.jit`.
  """
  if jax.default_backend() != 'cpu':
    return {}
  options = {'xla_backend_optimization_level': 1}
  if num_steps < SHORT_RUN and _has_older_emitters():
    options['xla_cpu_use_fusion_emitters'] = False
  given = os.environ.get('XLA_FLAGS', '')
  return {name: value for name, value in options.items() if name not in given}


def collect_less() -> None:
  """Lets Python look for garbage less often: tracing makes much that lives."""
  gc.set_threshold(50_000, 20, 20)


@functools.cache
def machine() -> str:
  """Returns a digest of what programs depend on and jax's key for them omits.

  That is the kind of CPU, whose instructions another may lack where a home is
  shared, and the number of threads, by which XLA divides its loops.
  """
  facts = [os.environ.get('NPROC', ''), str(len(environment.usable_cores())),
           str(environment.num_cores())]
  with contextlib.suppress(OSError):
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    facts += sorted({line for line in lines if line.startswith(
        ('vendor_id', 'cpu family', 'model', 'flags', 'Features', 'CPU '))})
  return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:16]


def _remove_torn(folder):
  """Removes the programs that a killed process left half written.

  jax writes the time of an entry last, and where it finds none it stores
  nothing any more. A folder that takes no file raises OSError.
  """
  with filelock.FileLock(folder / '.lockfile', timeout=LOCK_S):
    with tempfile.TemporaryFile(dir=folder):
      pass
    for path in folder.glob('*-cache'):
      if not path.with_name(f'{path.name[:-5]}atime').is_file():
        path.unlink()


def _notices_damage():
  """Returns whether jax packs with zlib, which has a checksum.

  Of 150 programs with a flipped bit all were noticed; packed by zstd without a
  checksum, one of the first ended the process (jax 0.10.2).
  """
  return not any(map(importlib.util.find_spec, ('zstandard', 'compression')))


@functools.cache
def _has_older_emitters():
  """Returns whether XLA has other emitters, which newer versions have not."""
  try:
    jax.jit(lambda: 0, compiler_options={
        'xla_cpu_use_fusion_emitters': False}).lower().compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True


def _default():
  """Returns this project's folder among a person's caches."""
  caches = os.environ.get('XDG_CACHE_HOME') or pathlib.Path('~/.cache')
  return pathlib.Path(caches) / 'meta_analog' / 'xla'
