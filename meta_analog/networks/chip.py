"""A chip: its arrays, its columns, and what a presentation sees of them.

Axes: I in (bias included), O out, L layer, B calibration vector.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery
from meta_analog.networks import network as network_lib
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import writing


class Chip(NamedTuple):
  """A programmed chip, with the calibration of its digital periphery.

  Only the chip knows dates; what it is made of has ages.
  """

  start: clock.Time  # when it was programmed
  times: tuple[clock.Time, ...]  # of each array, as it is in `crossbars`
  crossbars: tuple[array.Crossbar, ...]
  columns: tuple[periphery.Columns, ...]
  baselines: tuple[drift_compensation.Baseline | None, ...]  # of each layer
  programmed: protocols.Counts  # of all layers, where pulses were modelled


class Hardware(NamedTuple):
  """What a chip is made of."""

  device: types.Device
  model: types.Device  # the same technology without noise
  network: network_lib.Network
  program_fn: protocols.ProgramFn = initial_programming.statistical
  write_fn: protocols.WriteFn = writing.open_loop()
  hidden_device: types.Device | None = None  # None: as the output layer


def program_chip(
    key: jax.Array, hardware: Hardware,
    layers: tuple[network_lib.LayerParams, ...], calibrate_s: float
) -> Chip:
  """Returns a fresh chip, programmed at time 0 and calibrated later.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    layers: meta-parameters of each crossbar.
    calibrate_s: chip time of the drift calibration.

  Returns:
    A `Chip`.
  """
  network = hardware.network

  def program(key, device, layer, targets_uS, num_devices):
    key_devices, key_columns = jax.random.split(key)
    gain_per_uS = jnp.exp(layer.log_gain)
    crossbar, counts = hardware.program_fn(
        key_devices, device, hardware.model, targets_uS, gain_per_uS)
    weight_max = gain_per_uS * network.span_uS * num_devices
    columns = periphery.make_columns(
        key_columns, network.periphery, *layer.u.shape, weight_max)
    return crossbar, columns, counts

  key_program, key_calibrate = jax.random.split(key)
  keys = jax.random.split(key_program, len(layers))
  on = [device_of(hardware, i) for i in range(len(layers))]
  made = map(program, keys, on, layers,
             network_lib.targets(layers, network), network.num_devices)
  crossbars, columns, counts = zip(*made)
  total = jax.tree.map(lambda *values: sum(values), *counts)
  start = jax.tree.map(jnp.asarray, clock.START)
  chip = Chip(start, (start,) * len(crossbars), crossbars, columns,
              (None,) * len(crossbars), total)
  keys = jax.random.split(key_calibrate, len(crossbars))
  return chip._replace(baselines=tuple(
      calibrate(key, hardware, chip, i, clock.exact(calibrate_s),
                network.compensation.clock(jnp.float32(calibrate_s)))
      for i, key in enumerate(keys)))


def device_of(hardware: Hardware, i: int) -> types.Device:
  """Returns the device of layer i."""
  is_output = i == len(hardware.network.num_devices) - 1
  return hardware.device if is_output else (
      hardware.hidden_device or hardware.device)


def read_layers(
    key: jax.Array, hardware: Hardware, chip: Chip, time: clock.Time
) -> tuple[tuple[matvec.LayerReading, ...], tuple[jax.Array | None, ...]]:
  """Returns what a presentation sees of every layer, and what was measured.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    chip: state.
    time: of the reads, not before `chip.times`.

  Returns:
    Views, and the outputs [B, O] by which each layer's drift was measured.
  """
  keys = jax.random.split(key, len(chip.crossbars))
  seen = [read_layer(k, hardware, chip, i, time)
          for i, k in enumerate(keys)]
  views, measured = zip(*seen)
  return views, measured


def read_layer(
    key: jax.Array, hardware: Hardware, chip: Chip, i: int, time: clock.Time
) -> tuple[matvec.LayerReading, jax.Array | None]:
  """Returns the reading of layer i and its drift measurement."""
  view, outputs = _read_uncompensated(key, hardware, chip, i, time)
  factor = hardware.network.compensation.factor(
      chip.baselines[i], outputs, clock.elapsed_s(time, chip.start))
  return view._replace(factor=factor), outputs


def calibrate(
    key: jax.Array, hardware: Hardware, chip: Chip, i: int,
    time: clock.Time, level: jax.Array
) -> drift_compensation.Baseline | None:
  """Returns the baseline of layer i, from two reads.

  They count as taken so far apart that the slow part of the read noise is
  another in each; what is presented later shares it with its own measurement.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    chip: state.
    i: layer.
    time: of the reads.
    level: the factor then, scalar or [O].

  Returns:
    A `drift_compensation.Baseline`; None where nothing is measured.
  """
  if not hardware.network.compensation.measures:
    return None
  first, second = (_read_uncompensated(k, hardware, chip, i, time)[1]
                   for k in jax.random.split(key))
  return drift_compensation.calibrate(first, second,
                                      jax.lax.stop_gradient(level))


def _read_uncompensated(key, hardware, chip, i, time):
  """Returns the view of layer i without compensation, and a measurement."""
  network = hardware.network
  key_read, key_measure = jax.random.split(key)
  crossbar = chip.crossbars[i]
  reading = array.read(
      key_read, device_of(hardware, i), crossbar,
      clock.elapsed_s(time, chip.times[i]), network.fresh_share)
  view = network_lib.layer_reading(reading, chip.columns[i],
                                   crossbar.gain_per_uS, network,
                                   network.num_devices[i])
  if not network.compensation.measures:
    return view, None
  return view, jax.lax.stop_gradient(
      drift_compensation.probe(key_measure, network.periphery, view))
