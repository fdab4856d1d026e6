"""Memory that a run takes on a CPU, estimated before anything is built.

The largest arrays are those of a chip's devices, of the activity of its neurons
over time, and what all chips of a test return. How many such arrays live at
once is a constant here, taken from XLA's own account of compiled steps: of
pcm.py, also with 4 times its time steps, neurons, samples, tasks and devices,
and of omniglot.py. Two runs of 1.7 and 2.3 GB were estimated 5 % off.

Axes of sizes: T time step, N sample, I input (bias included), O output.
"""

from typing import Any
from typing import NamedTuple

import ml_collections

from meta_analog.config import defaults
from meta_analog.config import noise_sources
from meta_analog.core import batching
from meta_analog.networks import convolution
from meta_analog.tasks import registry as task_registry

MARGIN = 2.0  # of a peak, which the estimate may be off by
BASE = 8e8  # Python, jax and compiled programs
FLOAT = 4  # bytes
# Arrays that live at once: of devices, in a training step and for each task of
# a test; of activity, in either; of unfolded images, in a training step.
TRAINED_DEVICES, TESTED_DEVICES = 15, 13
TRAINED_ACTIVITY, TESTED_ACTIVITY = 8.6, 4.3
UNFOLDED = 3.0
SLOW_NOISE = 10  # likewise of the slow read noise of one task
CHIP_ARRAYS = 4  # of chip.npz, of the size of its devices
# Fields that the memory grows with.
FIELDS = (
    'network.num_time_steps', 'network.hidden_sizes', 'network.convolutions',
    'network.input_channels', 'crossbar.hidden_devices',
    'crossbar.output_devices', 'task.support_size', 'task.query_size',
    'task.way', 'task.shot', 'task.query_shot', 'adapt.num_events',
    'adapt.num_steps', 'adapt.refresh_pulses', 'training.tasks_per_step',
    'training.tasks_per_chip', 'training.tasks_at_once',
    'training.chips_per_chunk', 'descent.num_inputs', 'descent.num_levels',
    'evaluation.num_tasks', 'evaluation.num_chips', 'evaluation.after_s')


class Sizes(NamedTuple):
  """Numbers of floats."""

  weights: int  # of all crossbars
  devices: int  # of all crossbars
  written: int  # devices that an adaptation may write
  outputs: int  # O of the last layer
  activity: int  # of all hidden neurons, one sample and time step
  unfolded: int  # of the rows of convolutions, likewise


def check(
    config: ml_collections.ConfigDict, available: int, num_cores: int
) -> None:
  """Raises ValueError where a run cannot fit the machine.

  What may fit is not refused: the estimate exceeds what there is by `MARGIN`.

  Args:
    config: whose values were checked.
    available: bytes that this machine has.
    num_cores: that compute at once.

  Raises:
    ValueError: names the field to lower: the one whose default saves most.
  """
  flat = defaults.flat(config)
  needed = total(flat, config.task.name, num_cores)
  if needed <= MARGIN * available:
    return
  usual = defaults.flat(defaults.get_config(config.task.name))
  saved = {field: total(flat | {field: usual[field]}, config.task.name,
                        num_cores)
           for field in FIELDS if field in flat}
  field = min(saved, key=saved.get)
  if saved[field] == needed:
    field = 'network.hidden_sizes'
  raise ValueError(
      f'config.{field} = {flat[field]}: the run needs about '
      f'{needed / 1e9:.3g} GB of memory and this machine has '
      f'{available / 1e9:.3g}; lower it')


def total(flat: dict[str, Any], task: str, num_cores: int) -> float:
  """Returns the bytes of a run at its peak, about.

  Args:
    flat: the config's fields by dotted name.
    task: its name.
    num_cores: that compute at once.
  """
  sizes = _sizes(flat, task)
  return BASE + FLOAT * (_parameters(flat, sizes) + max(
      _training(flat, sizes, num_cores), _testing(flat, sizes, num_cores)))


def layer_shapes(
    flat: dict[str, Any], task: str
) -> tuple[tuple[convolution.ConvShape, ...], tuple[tuple[int, int], ...], int]:
  """Returns shapes of convolutions, (inputs, outputs) of all layers, outputs.

  Args:
    flat: the config's fields by dotted name.
    task: its name.
  """
  image_shape_fn = task_registry.FAMILIES[task].image_shape
  image_shape, outputs = (1, 1, flat['network.input_channels']), 1
  if image_shape_fn:
    image_shape = image_shape_fn({
        field.removeprefix('task.'): value for field, value in flat.items()
        if field.startswith('task.')})
    outputs = flat['task.way']
  conv_shapes, shapes = convolution.layer_shapes(
      image_shape, flat.get('network.convolutions', ()),
      (*flat['network.hidden_sizes'], outputs))
  return conv_shapes, shapes, outputs


def _parameters(flat, sizes):
  """Returns floats: parameters, moments and the gradients of all chunks."""
  num_chips = flat['training.tasks_per_step'] // flat['training.tasks_per_chip']
  num_chunks = -(-num_chips // max(1, flat['training.chips_per_chunk']))
  return sizes.weights * (8 + 2 * num_chunks)


def _training(flat, sizes, num_cores):
  """Returns floats: the chunks that are computed at once."""
  chips = max(1, flat['training.chips_per_chunk'])
  num_chunks = -(-flat['training.tasks_per_step'] // (
      flat['training.tasks_per_chip'] * chips))
  samples = _samples(flat)
  step = flat['network.num_time_steps'] * _at_once(flat, samples)
  events = flat['adapt.num_events']
  one_task = step * (TRAINED_ACTIVITY * sizes.activity
                     + UNFOLDED * sizes.unfolded) * max(1, events // 2)
  one_task += events * TESTED_DEVICES * sizes.written / 4
  one_task += _slow_noise(flat, sizes)
  one_task += samples**2 + flat['adapt.num_steps'] * sizes.written / 4
  one_chip = TRAINED_DEVICES * sizes.devices + (
      max(1, flat['training.tasks_at_once']) * one_task)
  return min(num_cores, num_chunks) * chips * one_chip


def _testing(flat, sizes, num_cores):
  """Returns floats: chips that are tested at once, and what all return."""
  num_chips = flat['evaluation.num_chips']
  tasks = flat['evaluation.num_tasks'] // num_chips
  samples = _samples(flat)
  dates = len(flat['evaluation.after_s']) + 1
  activity = TESTED_ACTIVITY * flat['network.num_time_steps'] * (
      _at_once(flat, samples) * (sizes.activity + sizes.unfolded))
  trace = flat['network.num_time_steps'] * dates * samples * sizes.outputs
  one_chip = max(TESTED_DEVICES * (tasks + 1) * sizes.devices,
                 tasks * (activity + trace))
  one_chip += tasks * _slow_noise(flat, sizes)
  returned = CHIP_ARRAYS * sizes.devices + (
      tasks * (dates + 1) * samples * sizes.outputs)
  return min(num_cores, num_chips) * (
      one_chip + num_chips * returned)


def _slow_noise(flat, sizes):
  """Returns floats of one task."""
  return noise_sources.has_slow_noise(flat) * SLOW_NOISE * sizes.devices


def _samples(flat):
  """Returns N of the larger set."""
  if 'task.way' in flat:
    return flat['task.way'] * max(flat['task.shot'], flat['task.query_shot'])
  return max(flat['task.support_size'], flat['task.query_size'])


def _at_once(flat, samples):
  """Returns samples of one batch: those of a microbatch in convolutions."""
  return min(samples, batching.MAX_MICROBATCH) if flat.get(
      'network.convolutions') else samples


def _sizes(flat, task):
  """Returns the `Sizes` of a network."""
  conv_shapes, shapes, outputs = layer_shapes(flat, task)
  weights = [(rows + 1) * columns for rows, columns in shapes]
  hidden = 2 * flat['crossbar.hidden_devices']
  output = 2 * flat['crossbar.output_devices'] * weights[-1]
  devices = hidden * sum(weights[:-1]) + output
  places = [convolution.num_positions(shape) for shape in conv_shapes]
  places += [1] * (len(shapes) - len(places))
  return Sizes(
      sum(weights), devices,
      devices if flat['adapt.layers'] == 'all' else output, outputs,
      sum(place * columns for place, (_, columns) in zip(
          places[:-1], shapes[:-1])),
      sum(convolution.num_positions(shape) * convolution.num_rows(shape)
          for shape in conv_shapes))
