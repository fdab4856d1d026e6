"""Characterization of a device, as an experimenter would measure it.

Four protocols, each on many independent devices, each a pure function of a
`types.Device`:

    pulses    RESET, then one SET pulse after another; the stored conductance
    drift     program, then wait; the mean conductance relative to a first read
    read      one state in every device, read once each; the standard deviation
    program   a target each; the conductance that results

The stored conductance is that at the reference time of the device, without
read noise. `run` measures one config's device and writes a file and a figure.

Axes: K pulse, T time, L level, N device.
"""

import pathlib
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.config import validation
from meta_analog.core import types
from meta_analog.devices import registry as device_registry
from meta_analog.reporting import device_figures
from meta_analog.reporting import style
from meta_analog.reporting import tables
from meta_analog.reporting import terminal
from meta_analog.runtime import atomic_files
from meta_analog.runtime import environment

NUM_DEVICES = 100_000
NUM_PULSES = 20
# Spreads over devices. At 0 all devices of a population are alike.
SPREADS = ('nu_std', 'step_std', 'imbalance_std', 'high_std', 'low_std')
# The published figure of a family was drawn with these.
PUBLISHED = {'pcm': {'g_max_uS': 20.0}}
DEFAULT_REFERENCE_S = 1.0  # of a family that has no t0_s


class Range(NamedTuple):
  """Range of conductance, and ages, at which a device is measured."""

  low_uS: float
  high_uS: float
  reference_s: float  # age at which conductance is normalised


def pulses(
    key: jax.Array, device: types.Device, span: Range, num_devices: int
) -> dict[str, list[float]]:
  """Returns mean and std after 1 to 20 SETs from RESET, then downwards.

  Args:
    key: consumed.
    device: one pulse a call is enough.
    span: where to measure.
    num_devices: N.

  Returns:
    num_pulses [K], mean_uS [K], std_uS [K] of the stored conductance; and
    down_mean_uS, down_std_uS after as many pulses of the other sign from there,
    for a device on which these do anything.
  """
  @jax.jit
  def simulate(key):
    key_program, key_reset, key_pulse = jax.random.split(key, 3)
    state = device.program(key_program, jnp.full(num_devices, _middle(span)))
    state = device.reset(key_reset, state, jnp.ones(num_devices, bool))

    def body(state, i):
      sign = jnp.where(i < NUM_PULSES, 1.0, -1.0)
      state = device.pulse(jax.random.fold_in(key_pulse, i), state,
                           jnp.broadcast_to(sign, (num_devices,)))
      return state, state.g_uS

    return jax.lax.scan(body, state, jnp.arange(2 * NUM_PULSES))[1]

  mean, std = _moments(simulate(key))
  out = {'num_pulses': list(range(1, NUM_PULSES + 1)),
         'mean_uS': mean[:NUM_PULSES], 'std_uS': std[:NUM_PULSES]}
  if mean[NUM_PULSES] != mean[NUM_PULSES - 1]:
    out |= {'down_mean_uS': mean[NUM_PULSES:], 'down_std_uS': std[NUM_PULSES:]}
  return out


def drift(
    key: jax.Array, device: types.Device, span: Range, num_devices: int
) -> dict[str, Any]:
  """Returns mean G(t) / mean G(T0) of devices programmed to mid-range at 0 s.

  Args:
    key: consumed.
    device: the technology.
    span: where to measure.
    num_devices: N.

  Returns:
    time_s [T] since programming, 1 ms to 10^8 s and T0 itself; relative [T];
    relative_std [T], over devices, programming error included; reference_s,
    which is T0; target_uS.
  """
  @jax.jit
  def simulate(key, time_s):
    state = device.program(key, jnp.full(num_devices, _middle(span)))
    return jax.lax.map(lambda t: device.read_stats(state, t)[0], time_s)

  time_s = np.unique([*10.0 ** (np.arange(-6, 17) / 2), span.reference_s])
  g_uS = simulate(key, jnp.asarray(time_s, jnp.float32))
  mean, std = np.array(_moments(g_uS))
  first = mean[np.searchsorted(time_s, span.reference_s)]
  return {'time_s': time_s.tolist(), 'relative': (mean / first).tolist(),
          'relative_std': (std / first).tolist(),
          'reference_s': span.reference_s, 'target_uS': _middle(span)}


def read_noise(
    key: jax.Array, device: types.Device, quiet: types.Device, span: Range,
    num_devices: int
) -> dict[str, list[float]]:
  """Returns the std of a read against the conductance that is read.

  Args:
    key: consumed.
    device: the technology, which reads.
    quiet: the same without noise, which programs: all devices are in one state.
    span: where to measure.
    num_devices: N.

  Returns:
    g_uS [L], mean conductance at the reference time, and std_uS [L] of one
    read of each device.
  """
  @jax.jit
  def simulate(key, levels_uS):
    state = quiet.program(jax.random.key(0), levels_uS)
    mean_uS = device.read_stats(state, span.reference_s)[0]
    return mean_uS, device.read(key, state, span.reference_s)

  levels = np.linspace(span.low_uS, span.high_uS, 13)
  g_uS, reads_uS = simulate(key, _each(levels, num_devices))
  return {'g_uS': _moments(g_uS)[0], 'std_uS': _moments(reads_uS)[1]}


def program(
    key: jax.Array, device: types.Device, span: Range, num_devices: int
) -> dict[str, list[float]]:
  """Returns mean and standard deviation of devices programmed to targets.

  Args:
    key: consumed.
    device: the technology.
    span: where to measure; the highest target is at three quarters of g_max,
      so that the bound stays out of it.
    num_devices: N.

  Returns:
    target_uS [L], mean_uS [L], std_uS [L] of the stored conductance.
  """
  targets = np.linspace(span.low_uS, 0.75 * span.high_uS, 13)
  simulate = jax.jit(lambda key, target: device.program(key, target).g_uS)
  mean, std = _moments(simulate(key, _each(targets, num_devices)))
  return {'target_uS': targets.tolist(), 'mean_uS': mean, 'std_uS': std}


def measure(
    key: jax.Array, name: str, params: Any, num_devices: int
) -> dict[str, dict[str, Any]]:
  """Returns the four measurements of one family with these parameters.

  Args:
    key: consumed.
    name: of devices.FAMILIES.
    params: of that family.
    num_devices: N.

  Returns:
    set_pulses, drift, read_noise and program, see the functions above.
  """
  device = device_registry.make(name, params, 1)
  quiet = device_registry.make(name, params._replace(noise_scale=0.0), 1)
  span = Range(params.g_min_uS, params.g_max_uS,
               getattr(params, 't0_s', DEFAULT_REFERENCE_S))
  keys = jax.random.split(key, 4)
  return {
      'set_pulses': pulses(keys[0], device, span, num_devices),
      'drift': drift(keys[1], device, span, num_devices),
      'read_noise': read_noise(keys[2], device, quiet, span, num_devices),
      'program': program(keys[3], device, span, num_devices),
  }


def characterize(
    name: str, params: Any, seed: int, num_devices: int = NUM_DEVICES
) -> dict[str, Any]:
  """Returns all that characterization.json holds, but for the versions.

  Args:
    name: of devices.FAMILIES.
    params: of that family.
    seed: of all draws.
    num_devices: N, in each measurement.

  Returns:
    A dictionary for JSON: the measurements with spreads 0, the same with the
    suffix _with_spread, set_pulses_published where the published figure has
    other parameters than these, and what was measured.
  """
  spreads = {s: getattr(params, s) for s in SPREADS if s in params._fields}
  alike = params._replace(**dict.fromkeys(spreads, 0.0))
  keys = jax.random.split(jax.random.key(seed), 3)
  out = measure(keys[0], name, alike, num_devices)
  out |= {f'{what}_with_spread': value for what, value in
          measure(keys[1], name, params, num_devices).items()}
  if name in PUBLISHED:
    changes = PUBLISHED[name]
    published = alike._replace(**changes)
    device = device_registry.make(name, published, 1)
    span = Range(published.g_min_uS, published.g_max_uS, 0.0)
    out['set_pulses_published'] = (
        pulses(keys[2], device, span, num_devices) | {'changes': changes})
  return out | {'device': name, 'params': dict(params._asdict()),
                'spreads': spreads, 'num_devices': num_devices, 'seed': seed}


def run(config: ml_collections.ConfigDict, workdir: str) -> dict[str, Any]:
  """Characterises a config's device; writes characterization.json and .png.

  Args:
    config: see `validation.check`; device, parameters and seed are used.
    workdir: folder to write into; made where it is not there.

  Returns:
    What characterization.json holds.

  Raises:
    errors.InputError: if the config or the folder cannot be.
  """
  validation.check(config)
  folder = pathlib.Path(workdir)
  atomic_files.check_writable(folder)
  console = terminal.console()
  name = config.device
  params = device_registry.FAMILIES[name].params(**config.device_params[name])
  console.print(f'Characterising {name}: {NUM_DEVICES} devices in each '
                f'measurement, seed {config.seed}, into {folder}')
  result = characterize(name, params, config.seed)
  result['versions'] = environment.record()
  atomic_files.write_json(folder / 'characterization.json', result)
  drawn = style.draw(folder / 'characterization.png', lambda path:
                     device_figures.characterization(path, result),
                     console.print)
  console.print(tables.device_table(result))
  console.print(f'Written to {folder}: characterization.json'
                f'{" and .png" if drawn else ""}.')
  return result


def _middle(span):
  return 0.5 * (span.low_uS + span.high_uS)


def _each(levels_uS, num_devices):
  """Returns [L, N], each level in N devices."""
  column = jnp.asarray(levels_uS, jnp.float32)[:, None]
  return jnp.broadcast_to(column, (len(levels_uS), num_devices))


def _moments(x):
  """Returns mean and standard deviation over devices of [.., N], as lists."""
  x = np.asarray(x, np.float64)
  return x.mean(-1).tolist(), x.std(-1).tolist()
