"""Chip of several crossbars: programming, calibration and layer readings.

Axes: I in (bias included), O out, L layer, B calibration vector, K tile.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

from meta_analog.core import clock
from meta_analog.core import types
from meta_analog.crossbar import array
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import matvec
from meta_analog.crossbar import periphery
from meta_analog.crossbar import slow_noise
from meta_analog.networks import network as network_lib
from meta_analog.programming import controller
from meta_analog.programming import initial_programming
from meta_analog.programming import protocols
from meta_analog.programming import writing


class Chip(NamedTuple):
  """A programmed chip with the calibration of its digital periphery.

  The chip alone has dates; its devices have ages.
  """

  start: clock.Time  # date of its programming
  times: tuple[clock.Time, ...]  # date of the state of each crossbar
  crossbars: tuple[array.Crossbar, ...]
  columns: tuple[periphery.Columns, ...]
  baselines: tuple[drift_compensation.Baseline | None, ...]  # of each layer
  programmed: protocols.Counts  # of all layers, where pulses were modelled


class Hardware(NamedTuple):
  """Devices, design and write methods of a chip."""

  device: types.Device
  noise_free_device: types.Device  # the same technology without noise
  network: network_lib.Network
  program_fn: protocols.ProgramFn = initial_programming.statistical
  write_fn: protocols.WriteFn = writing.open_loop()
  hidden_device: types.Device | None = None  # None: as the output layer
  hidden_noise_free: types.Device | None = None  # likewise
  slow_noise: bool = False  # whether reads close in time share read noise


def program_chip(
    key: jax.Array, hardware: Hardware,
    layers: tuple[network_lib.LayerParams, ...], calibrate_s: float
) -> Chip:
  """Returns a new chip, programmed at time 0 and calibrated later.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    layers: meta-parameters of each crossbar.
    calibrate_s: date of the drift calibration, s.

  Returns:
    A `Chip`.
  """
  network = hardware.network

  def program(key, devices, layer, targets_uS, num_devices):
    key_devices, key_columns, key_slow = jax.random.split(key, 3)
    gain_per_uS = jnp.exp(layer.log_gain)
    crossbar, counts = hardware.program_fn(
        key_devices, *devices, targets_uS, gain_per_uS)
    if hardware.slow_noise and crossbar.slow is None:
      crossbar = crossbar._replace(
          slow=slow_noise.start(key_slow, targets_uS.shape))
    weight_max = gain_per_uS * network.span_uS * num_devices
    columns = periphery.make_columns(
        key_columns, network.periphery, *layer.u.shape, weight_max)
    return crossbar, columns, counts

  key_program, key_calibrate = jax.random.split(key)
  keys = jax.random.split(key_program, len(layers))
  on = [devices_of(hardware, i) for i in range(len(layers))]
  made = map(program, keys, on, layers,
             network_lib.targets(layers, network), network.num_devices)
  crossbars, columns, counts = zip(*made)
  total = jax.tree.map(lambda *values: sum(values), *counts)
  start = jax.tree.map(jnp.asarray, clock.START)
  chip = Chip(start, (start,) * len(crossbars), crossbars, columns,
              (None,) * len(crossbars), total)
  for i, key in enumerate(jax.random.split(key_calibrate, len(crossbars))):
    chip = calibrate(key, hardware, chip, i, clock.exact(calibrate_s),
                     network.compensation.clock(jnp.float32(calibrate_s)))
  return chip


def devices_of(
    hardware: Hardware, i: int
) -> tuple[types.Device, types.Device]:
  """Returns the device of layer i and the noise-free model of it."""
  if i == len(hardware.network.num_devices) - 1:
    return hardware.device, hardware.noise_free_device
  return (hardware.hidden_device or hardware.device,
          hardware.hidden_noise_free or hardware.noise_free_device)


def read_layers(
    key: jax.Array, hardware: Hardware, chip: Chip, time: clock.Time
) -> tuple[
    tuple[matvec.LayerReading, ...], tuple[jax.Array | None, ...], Chip]:
  """Returns the readings of one forward pass, drift measurements, the chip.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    chip: state.
    time: of the reads, not before `chip.times`.

  Returns:
    One reading per layer; the outputs [B, K, O] of its drift measurement, or
    None; the chip with the slow noise of these reads.
  """
  keys = jax.random.split(key, len(chip.crossbars))
  readings, measured = [], []
  for i, key in enumerate(keys):
    reading, outputs, chip = read_layer(key, hardware, chip, i, time)
    readings.append(reading)
    measured.append(outputs)
  return tuple(readings), tuple(measured), chip


def read_layer(
    key: jax.Array, hardware: Hardware, chip: Chip, i: int, time: clock.Time
) -> tuple[matvec.LayerReading, jax.Array | None, Chip]:
  """Returns the reading of layer i, its drift measurement and the chip."""
  key_read, key_measure = jax.random.split(key)
  layer, chip = _read_uncompensated(key_read, hardware, chip, i, time)
  network, baseline, outputs = hardware.network, chip.baselines[i], None
  if network.compensation.measures:
    outputs = jax.lax.stop_gradient(drift_compensation.probe(
        key_measure, network.periphery, layer, baseline.inputs))
  factor = network.compensation.factor(
      baseline, outputs, clock.elapsed_s(time, chip.start))
  return layer._replace(factor=factor), outputs, chip


def calibrate(
    key: jax.Array, hardware: Hardware, chip: Chip, i: int,
    time: clock.Time, level: jax.Array
) -> Chip:
  """Returns the chip with a new baseline of layer i.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    chip: state.
    i: layer.
    time: of the read.
    level: the factor then, scalar or [O].

  Returns:
    New `Chip`; the same where nothing is measured.
  """
  network = hardware.network
  if not network.compensation.measures:
    return chip
  key_read, key_measure = jax.random.split(key)
  layer, chip = _read_uncompensated(key_read, hardware, chip, i, time)
  crossbar = chip.crossbars[i]
  weights = array.weights_from_targets(
      controller.estimated_uS(devices_of(hardware, i)[1], crossbar,
                              clock.elapsed_s(time, chip.times[i])),
      crossbar.gain_per_uS)
  law = network.compensation.clock(clock.elapsed_s(time, chip.start))
  baseline = jax.lax.stop_gradient(drift_compensation.calibrate(
      key_measure, network.periphery, layer, weights, level, law))
  return replace_layer(chip, i, baselines=baseline)


def write_layer(
    key: jax.Array, hardware: Hardware, chip: Chip, i: int,
    request: protocols.Request, time: clock.Time
) -> tuple[Chip, protocols.Counts]:
  """Returns the chip after a write of layer i, and its counts.

  Args:
    key: consumed.
    hardware: see `Hardware`.
    chip: state.
    i: layer.
    request: the weight change.
    time: start of the write, not before `chip.times`.

  Returns:
    New `Chip`, its layer i at the end of the write; `protocols.Counts`.
  """
  device, noise_free = devices_of(hardware, i)
  crossbar = array.advance(device, noise_free, chip.crossbars[i],
                           clock.elapsed_s(time, chip.times[i]))
  written = hardware.write_fn(key, device, noise_free, crossbar, request)
  return replace_layer(
      chip, i, crossbars=written.crossbar,
      times=clock.later(time, written.elapsed_s)), written.counts


def replace_layer(chip: Chip, i: int, **items: Any) -> Chip:
  """Returns the chip with entry i of each named tuple field replaced."""
  replace = lambda old, new: old[:i] + (new,) + old[i + 1:]
  return chip._replace(**{
      name: replace(getattr(chip, name), item) for name, item in items.items()})


def _read_uncompensated(key, hardware, chip, i, time):
  """Returns the reading of layer i, its factor 1, and the chip.

  A crossbar with slow noise is taken to the date of the read: the time between
  two reads is then exact.
  """
  network, devices = hardware.network, devices_of(hardware, i)
  if chip.crossbars[i].slow is not None:
    key, key_slow = jax.random.split(key)
    crossbar = array.advance(*devices, chip.crossbars[i],
                             clock.elapsed_s(time, chip.times[i]))
    chip = replace_layer(
        chip, i, crossbars=array.draw_slow(key_slow, crossbar),
        times=jax.tree.map(jnp.asarray, clock.exact(time)))
  crossbar = chip.crossbars[i]
  reading = array.read(key, devices[0], crossbar,
                       clock.elapsed_s(time, chip.times[i]),
                       network.fresh_share)
  return network_lib.layer_reading(
      reading, chip.columns[i], crossbar.gain_per_uS, network,
      network.num_devices[i]), chip
