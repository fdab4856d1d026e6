"""Counts of digital operations of a deployment.

An operation is a multiply-add, or as much as one: a comparison, a step of a
neuron's law. Counted are the neurons, the update rule, the pulse encoder, the
controller's noise-free model, and its sums over reads. Small things are left
out, such as encoding the inputs and choosing the devices that are pulsed.

N sample, T time step, F feature (bias included), O output, D device of a
polarity, K most pulses of a weight.
"""

import ml_collections

from meta_analog.core import quantization
from meta_analog.crossbar import energy

NEURON = 3  # leak, input, threshold with reset; in a time step
MODEL = 5  # a pulse of the noise-free model: memory, mean step, bound, drift
NUM_SWEEPS = 2  # of `pulse_encoders.encode_descent`
Layers = tuple[energy.Layer, ...]


def sample(layers: Layers, num_steps: int) -> float:
  """Returns the operations of one forward pass.

  In a time step every output of a product is scaled, hidden neurons take a step
  of their law, and outputs are averaged:

      T (sum_l P_l O_l + NEURON sum_hidden P_l O_l + O),  P positions

  Args:
    layers: of the network, the output layer last.
    num_steps: T.
  """
  values = [layer.num_products * layer.num_outputs for layer in layers]
  return num_steps * (
      sum(values) + NEURON * sum(values[:-1]) + layers[-1].num_outputs)


def ridge(num_samples: int, num_features: int, num_outputs: int) -> float:
  """Returns the operations of `plasticity.ridge`.

  Gram matrix (its symmetric half), Cholesky factor, two triangular solutions,
  and the way back to features:

      N (N + 1) / 2 F + N^3 / 6 + N^2 O + N F O
  """
  n, f, o = num_samples, num_features, num_outputs
  return n * (n + 1) / 2 * f + n**3 / 6 + n**2 * o + n * f * o


def descent(
    num_samples: int, num_features: int, num_outputs: int, num_levels: int
) -> float:
  """Returns the operations of the descent of `pulse_encoders.encode_descent`.

  Powers of the features and the first residual, then in each sweep and for each
  weight its slope, the objective of 2 K + 1 levels, and the residual:

      N F (1 + O) + NUM_SWEEPS F O (2 N + 2 (2 K + 1))
  """
  n, f, o, k = num_samples, num_features, num_outputs, num_levels
  return n * f * (1 + o) + NUM_SWEEPS * f * o * (2 * n + 2 * (2 * k + 1))


def encoding(
    adapt: ml_collections.ConfigDict, layer: energy.Layer, num_samples: int
) -> float:
  """Returns the operations from the updates of one layer to its pulses.

  Args:
    adapt: section of a config.
    layer: that is written.
    num_samples: N.
  """
  weights = layer.num_rows * layer.num_outputs
  if adapt.write == 'exact':
    return 0.0
  if adapt.encoding == 'threshold' or adapt.update_bits == 1:
    return weights
  num_levels = quantization.max_level(adapt.update_bits)
  # The noise-free model before and after each of K pulses, of both polarities.
  table = 2 * weights * (layer.num_devices + num_levels) * MODEL
  nearest = weights * num_levels  # comparisons
  if adapt.encoding == 'nearest':
    return table + nearest
  return table + nearest + descent(
      num_samples, layer.num_rows, layer.num_outputs, num_levels)


def event(
    adapt: ml_collections.ConfigDict, layers: Layers, num_samples: int,
    num_steps: int
) -> float:
  """Returns the operations of one adaptation event but its forward passes.

  Args:
    adapt: section of a config.
    layers: of the network, the output layer last.
    num_samples: N.
    num_steps: T.
  """
  last = layers[-1]
  n, f, o = num_samples, last.num_rows, last.num_outputs
  update = n * o  # the error
  written = (last,)
  if adapt.layers == 'all':
    # Back through time: gradients of inputs and weights, and of neurons.
    written = layers
    products = sum(x.num_products * x.num_rows * x.num_outputs for x in layers)
    neurons = sum(x.num_products * x.num_outputs for x in layers[:-1])
    update += n * num_steps * (2 * products + NEURON * neurons)
  else:
    update += n * num_steps * f  # features: spikes, averaged over time
    update += ridge(n, f, o) if adapt.rule == 'ridge' else (
        2 * adapt.num_steps * n * f * o)
  return update + sum(encoding(adapt, layer, n) for layer in written)


def count(
    config: ml_collections.ConfigDict, layers: Layers,
    program: energy.Counts, adaptation: energy.Counts
) -> energy.Operations:
  """Returns the digital operations of a deployment.

  Args:
    config: checked.
    layers: of the network, the output layer last.
    program: counts of programming the chip; a sum over reads is an operation a
      read.
    adaptation: counts of all adaptation events of a task.
  """
  num_steps, c = config.network.num_time_steps, config.adapt
  programming = program.reads
  if config.evaluation.programming == 'descent':
    # The product that should be, and the gradient of each weight.
    products = config.descent.num_iterations * config.descent.num_inputs
    programming += 2 * products * sum(
        layer.num_rows * layer.num_outputs for layer in layers)
  return energy.Operations(
      program=programming, sample=sample(layers, num_steps),
      adaptation=adaptation.reads + c.num_events * event(
          c, layers, config.task.support_size, num_steps))
