"""Energy and latency of a tested deployment, from the counts of the test."""

import itertools
from typing import Any

import jax
import ml_collections
import numpy as np

from meta_analog.config import build
from meta_analog.crossbar import drift_compensation
from meta_analog.crossbar import energy
from meta_analog.crossbar import periphery
from meta_analog.evaluation import digital_operations
from meta_analog.evaluation import meta_test_results
from meta_analog.networks import convolution
from meta_analog.programming import verify_options


def layers(
    config: ml_collections.ConfigDict, setup: build.Setup
) -> tuple[energy.Layer, ...]:
  """Returns what a product of each layer takes."""
  return tuple(
      energy.Layer(*layer.u.shape,
                   num_devices=count,
                   num_tiles=periphery.num_tiles(layer.u.shape[0],
                                                 config.periphery.tile_rows) *
                   periphery.num_tiles(2 * count * layer.u.shape[1],
                                       config.periphery.tile_columns),
                   num_products=positions)
      for layer, count, positions in itertools.zip_longest(
          _shapes(setup).layers,
          setup.network.num_devices,
          map(convolution.num_positions, setup.network.conv_shapes),
          fillvalue=1))


def account(
    config: ml_collections.ConfigDict, sizes: tuple[energy.Layer, ...],
    num_devices: int, results: meta_test_results.MetaTestResults
) -> dict[str, Any]:
  """Returns the energy and the latency of the tested deployment."""
  prices = energy.Prices(**config.prices)
  count = lambda counts: energy.Counts(*(
      float(np.mean(getattr(counts, name)))
      for name in ('pulses', 'resets', 'reads')))
  programmed, written = count(results.programmed), count(results.written)
  if not programmed.sets:  # by the statistics: nothing was counted
    programmed = energy.program_counts(prices, num_devices)
  operations = digital_operations.count(config, sizes, programmed, written)
  return energy.account(
      prices, sizes, _plan(config, len(sizes)), programmed, written, operations,
      float(np.mean(results.mean_uS)))


def _plan(config, num_layers):
  """Returns what a deployment does beside writing."""
  c = config.adapt
  measures = (config.crossbar.drift_compensation
              in drift_compensation.MEASURED)
  duration_s = verify_options.longest_s(
      verify_options.VerifyOptions(**config.verification))
  programming = config.evaluation.programming
  products, wait_s = {
      'statistical': (0, 0.0), 'verified': (0, duration_s),
      'descent': (
          config.descent.num_iterations * config.descent.num_inputs,
          (config.descent.num_iterations + 2) * config.descent.interval_s),
  }[programming]
  return energy.Plan(
      num_steps=config.network.num_time_steps, num_events=c.num_events,
      num_samples=config.task.support_size,
      num_written=num_layers if c.layers == 'all' else 1,
      probe_products=2 * drift_compensation.NUM_VECTORS if measures else 0,
      program_products=products, program_wait_s=wait_s,
      event_wait_s=duration_s if c.write == 'verified' else 0.0)


def _shapes(setup):
  params = jax.eval_shape(setup.transforms.theta.init, jax.random.key(0))
  return jax.eval_shape(setup.transforms.theta.apply, params)
