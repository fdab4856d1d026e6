"""Compiled programs that outlive the process, each whole or not there.

jax can keep what it compiles in a folder, but it writes an entry in place,
guards it by no more than its compression does, never replaces one that it
cannot read, and takes an entry for another number of cores, which gives other
last digits. So jax gets a folder of entries that look after themselves: each is
named after the machine too, begins with the SHA-256 of its name and content,
and takes its place once it is written. What does not agree is removed and
compiled again.

Tracing stays, in Python: so the small functions that are called the most are
under `jax.jit`, each traced once for a shape, and Python looks for garbage less
often (`collect_less`): the step of configs/pcm.py is traced in 1.5 s and not in
2.1, on one core of an AMD EPYC.

A folder of compiled programs is trusted like the program itself: whoever may
write there can run code here.
"""

from collections.abc import Callable
import contextlib
import functools
import gc
import hashlib
import os
import pathlib
import tempfile

from etils import epath
import jax
import ml_collections

from meta_analog.core import errors
from meta_analog.runtime import environment

SHORT_RUN = 50  # steps of a training
MOST_BYTES = 2**30  # of the folder, when a process begins
SCHEME = 'checked://'
# On a CPU. XLA's newest code for small loops copies each tile to the stack and
# back: a training step of 1-40-40-1 took 1.10 times longer with it, and 1.05
# times with read noise. Loops that read the same arrays become one pass over
# them: 1.17 and 1.20 times longer without (one core of an AMD EPYC, jaxlib
# 0.10.2). jaxlib 0.12 compiles small loops whole, up to more than these bytes,
# and then a pass over many arrays one number at a time: on two cores the step
# with read noise took 1.09 times longer so (without noise 0.94), and one of
# 1-320-320-1, of two tiles a layer, 1.96 times; to 0.10.2 it makes no
# difference. A version of XLA that does not know an extra option ignores it; to
# do without, name others: XLA_FLAGS=--xla_backend_extra_options=none.
EXTRA_OPTIONS = ('--xla_backend_extra_options=xla_cpu_disable_tiled_emitter,'
                 'xla_cpu_use_multi_output_fusion=true,'
                 'xla_cpu_small_while_loop_byte_threshold=1024')
DIGEST_BYTES = hashlib.sha256().digest_size


def keep(folder: str | None, say: Callable[[str], None]) -> None:
  """Keeps what jax compiles from now on; before jax compiles anything.

  Also sets what makes that fast, see `collect_less` and `tune`.

  Args:
    folder: where to; made where it is not there. '' keeps nothing. None is
      JAX_COMPILATION_CACHE_DIR, where that is set, which jax then looks after
      alone, or else meta_analog/xla under $XDG_CACHE_HOME or ~/.cache.
    say: called with a warning where nothing can be kept.
  """
  collect_less()
  tune()
  if folder is None and os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    return
  jax.config.update('jax_compilation_cache_dir', None)
  if folder == '':
    return
  path = pathlib.Path(folder or _default())
  try:
    path = path.expanduser().absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
      pass
    trim(path, MOST_BYTES)
  except (OSError, RuntimeError) as error:  # or there is no such home
    say(_warning(path, error))
    return
  Entry.say = staticmethod(say)
  jax.config.update('jax_compilation_cache_dir', f'{SCHEME}{path}')
  # XLA's own caches would be written beside, and take no such name.
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  for name, value in (('min_compile_time_secs', 0.0),
                      ('min_entry_size_bytes', -1)):
    if f'JAX_PERSISTENT_CACHE_{name.upper()}' not in os.environ:
      jax.config.update(f'jax_persistent_cache_{name}', value)


def folder() -> 'Entry | None':
  """Returns where programs are kept, or None where they are not, or by jax."""
  name = jax.config.jax_compilation_cache_dir or ''
  if not jax.config.jax_enable_compilation_cache or (
      not name.startswith(SCHEME)):
    return None
  return Entry(name)


def tune() -> None:
  """Sets the options of XLA that no single program can; before jax compiles.

  What XLA_FLAGS says of its extra options stays, as does the name of a file.
  """
  said = os.environ.get('XLA_FLAGS', '').strip()
  if said[:1] in ('', '-') and (
      EXTRA_OPTIONS.partition('=')[0] not in said):
    os.environ['XLA_FLAGS'] = f'{said} {EXTRA_OPTIONS}'.strip()


def options(
    config: ml_collections.ConfigDict
) -> dict[str, int | bool]:
  """Returns options for programs that are long to compile, none but on a CPU.

  For a run so short that compiling it takes longest, XLA's older emitters: the
  step of configs/pcm.py compiles in 7 instead of 10 s on 2 idle cores, and then
  runs 1.5 times slower without read noise. Upper levels of optimisation take
  2 s more and give nothing. What XLA_FLAGS says of them stays.

  Args:
    config: checked.

  Returns:
    Options for `jax.jit`.
  """
  if jax.default_backend() != 'cpu':
    return {}
  options = {'xla_backend_optimization_level': 1}
  if config.training.num_steps < SHORT_RUN and _has_older_emitters():
    options['xla_cpu_use_fusion_emitters'] = False
  said = os.environ.get('XLA_FLAGS', '')
  return {name: value for name, value in options.items() if name not in said}


def collect_less() -> None:
  """Lets Python look for garbage less often: tracing makes much that lives."""
  gc.set_threshold(50_000, 20, 20)


@functools.cache
def machine() -> str:
  """Returns a name for what programs hang on and jax's key for them omits.

  That is the kind of CPU, whose instructions another may lack where a home is
  shared, and the number of threads, by which XLA divides its loops.
  """
  facts = [os.environ.get('NPROC', ''), str(len(os.sched_getaffinity(0))),
           str(environment.num_cores())]
  with contextlib.suppress(OSError):
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    facts += sorted({line for line in lines if line.startswith(
        ('vendor_id', 'cpu family', 'model', 'flags', 'Features', 'CPU '))})
  return hashlib.sha256('\n'.join(facts).encode()).hexdigest()[:16]


def trim(folder: pathlib.Path, most_bytes: int) -> None:
  """Removes the entries not used for longest until the rest is small enough.

  Args:
    folder: of entries.
    most_bytes: that may stay.

  Raises:
    OSError: if the folder cannot be read.
  """
  found = []
  for entry in os.scandir(folder):
    with contextlib.suppress(FileNotFoundError):  # Others clear up as well.
      if entry.is_file(follow_symlinks=False):
        status = entry.stat(follow_symlinks=False)
        found.append((status.st_mtime, status.st_size, entry.path))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found):
    if total <= most_bytes:
      break
    with contextlib.suppress(OSError):
      os.unlink(path)
    total -= size


@epath.register_path_cls(SCHEME)
class Entry:
  """As much of a path as jax needs, of the folder or of one entry."""

  say = staticmethod(print)  # of warnings; None once one was given

  def __init__(self, path: str | os.PathLike[str]):
    """Names a file or folder, with or without the scheme."""
    self._path = pathlib.Path(str(path).removeprefix(SCHEME))
    self._content = None

  def joinpath(self, *names: str) -> 'Entry':
    """Returns the entry of a name on this machine; without one the folder."""
    return functools.reduce(
        lambda entry, name: Entry(entry._path / f'{name}-{machine()}'), names,
        self)

  def __truediv__(self, name: str) -> 'Entry':
    """Returns the entry of a name on this machine."""
    return self.joinpath(name)

  def __str__(self) -> str:
    """Returns the name with the scheme."""
    return f'{SCHEME}{self._path}'

  def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
    """Does nothing: `keep` made the folder."""
    del parents, exist_ok

  def exists(self) -> bool:
    """Returns whether the entry holds what was written; removes it if not."""
    with contextlib.suppress(OSError):
      data = self._path.read_bytes()
      content = data[DIGEST_BYTES:]
      if data[:DIGEST_BYTES] == self._digest(content):
        self._content = content
        with contextlib.suppress(OSError):
          os.utime(self._path)
        return True
      self._path.unlink()
    return False

  def read_bytes(self) -> bytes:
    """Returns what `exists` has found good."""
    return self._content

  def write_bytes(self, content: bytes) -> None:
    """Writes the entry whole or not at all; warns once where it cannot."""
    partial = None
    try:
      file, partial = tempfile.mkstemp(dir=self._path.parent)
      with os.fdopen(file, 'wb') as stream:
        stream.write(self._digest(content) + content)
      os.replace(partial, self._path)
    except OSError as error:
      if partial is not None:
        with contextlib.suppress(OSError):
          os.unlink(partial)
      if Entry.say is not None:
        say, Entry.say = Entry.say, None
        say(_warning(self._path.parent, error))

  def _digest(self, content):
    return hashlib.sha256(self._path.name.encode() + b'\n' + content).digest()


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


def _warning(folder, error):
  return (f'Warning: compiled programs are not kept: {folder}: '
          f'{errors.reason(error)}; --cache_dir names another folder')
