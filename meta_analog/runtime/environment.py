"""Versions, devices and cores: what the digits of a result may depend on."""

from collections.abc import Callable
from importlib import metadata
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import jax

from meta_analog.core import errors

PACKAGES = ('jax', 'jaxlib', 'dm-haiku', 'optax', 'chex', 'numpy',
            'ml-collections', 'orbax-checkpoint')
# Other values of these, or of a version, may change the last digits. Other
# numbers of devices or processes do not.
DECISIVE = ('python', 'platform', 'device_kind', 'cores')
FORCED_DEVICES = '--xla_force_host_platform_device_count'


def usable_cores() -> set[int]:
  """Returns the cores that this process may run on, by their numbers."""
  if not hasattr(os, 'sched_getaffinity'):  # macOS
    return set(range(os.cpu_count() or 1))
  return os.sched_getaffinity(0)


def num_cores() -> int:
  """Returns the cores that this process may use, by affinity and by quota."""
  cores = len(usable_cores())
  try:  # a container's share of the machine, in microseconds of a period
    quota, period = pathlib.Path('/sys/fs/cgroup/cpu.max').read_text().split()
    return max(1, min(cores, int(quota) // int(period)))
  except (OSError, ValueError):  # no such limit, or 'max'
    return cores


def memory_bytes() -> int | None:
  """Returns the memory that this process may use, by machine and by container.

  Returns:
    Bytes; None where the system does not tell.
  """
  found = []
  try:
    found.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))
  except (AttributeError, OSError, ValueError):
    pass
  for name in ('memory.max', 'memory/memory.limit_in_bytes'):
    try:
      found.append(int(pathlib.Path('/sys/fs/cgroup', name).read_text()))
    except (OSError, ValueError):  # no such limit, or 'max'
      continue
  return min((number for number in found if number > 0), default=None)


def versions() -> dict[str, str | None]:
  """Returns the version of each package that numbers depend on."""
  return {name: _version(name) for name in PACKAGES}


def use_all_cores() -> None:
  """Makes every CPU core a device of jax, before jax is first used.

  There are never less than two: for one device XLA inlines calls later and
  fuses otherwise, which changes last digits (measured with jaxlib 0.10.2).
  """
  flags, name = os.environ.get('XLA_FLAGS', ''), FORCED_DEVICES
  if name not in flags:
    jax.config.update('jax_num_cpu_devices', max(2, num_cores()))
  os.environ['XLA_FLAGS'] = re.sub(rf'({name}=)1(?!\d)', r'\g<1>2', flags)


def stay_in_float32() -> None:
  """Switches off jax's 64 bits: with JAX_ENABLE_X64 libraries would use them.

  This project's own numbers are float32 in either case (`core.dtypes`); those
  of an optimiser's schedule would be rounded otherwise.
  """
  jax.config.update('jax_enable_x64', False)


def check_devices() -> None:
  """Starts jax.

  Raises:
    InputError: if it finds no device of the platforms that JAX_PLATFORMS names.
  """
  try:
    jax.devices()
  except (AssertionError, RuntimeError) as error:
    names = os.environ.get('JAX_PLATFORMS', '')
    raise errors.InputError(
        f'JAX_PLATFORMS={names}: jax cannot use this on this machine'
        + (f': {errors.reason(error)}' if str(error) else '')) from None


def stay_on_cpu() -> None:
  """Keeps this process on the CPU: its children need the accelerators."""
  jax.config.update('jax_platforms', 'cpu')


def record() -> dict[str, Any]:
  """Returns versions, commit, platform, devices and cores as JSON values."""
  return {
      'jax': jax.__version__, 'python': sys.version.split()[0],
      'versions': versions(),
      'platform': jax.default_backend(),
      'device_kind': jax.devices()[0].device_kind,
      'devices': jax.device_count(), 'processes': jax.process_count(),
      'cores': num_cores(),
      'commit': _git('rev-parse', 'HEAD') or None,
      'uncommitted_changes': bool(
          _git('status', '--porcelain', '--untracked-files=no'))}


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
  """Returns what decides the last digits and is no longer as it was.

  Args:
    before: of `record`, of the run so far.
    now: of `record`.

  Returns:
    One phrase for each change, such as 'cores 2, now 4'.
  """
  phrases = []
  flat = lambda r: {name: r.get(name) for name in DECISIVE} | dict(
      r.get('versions') or {})
  old, new = flat(before), flat(now)
  for name in sorted(old.keys() | new.keys()):
    if old.get(name) != new.get(name):
      phrases.append(f'{name} {old.get(name)}, now {new.get(name)}')
  return phrases


def warn_of_changes(
    before: dict[str, Any], now: dict[str, Any], log: Callable[[str], None]
) -> None:
  """Logs in a line what `changes` found; the arguments are its own.

  Args:
    before: see `changes`.
    now: see `changes`.
    log: prints a line.
  """
  found = changes(before, now)
  if found:
    log(f'Warning: {"; ".join(found)}: the last digits may differ from those '
        'of a run that was never interrupted.')


def _version(name):
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return None


def _git(*arguments):
  """Returns what git says of this source, or '' where it does not know it.

  An installed package may lie in the folder of somebody's own repository.
  """
  here = pathlib.Path(__file__)
  call = lambda *words: subprocess.run(
      ['git', *words], cwd=here.parent, capture_output=True, text=True,
      check=False).stdout.strip()
  try:
    return call(*arguments) if call('ls-files', here.name) else ''
  except OSError:  # no git on this machine
    return ''
