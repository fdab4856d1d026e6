"""Pulses, reads and program-and-verify of arrays, beside NumPy."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from meta_analog.benchmarks import numpy_reference
from meta_analog.benchmarks import timing
from meta_analog.core import sharding
from meta_analog.devices import pcm
from meta_analog.programming import initial_programming
from meta_analog.programming import program_verify as program_verify_lib
from meta_analog.programming import verify_options

SIZE, PAIRS = 1024, 256
LARGEST_uS, REFERENCE_S = 9.0, 100.0
BUDGET = verify_options.VerifyOptions(tolerance_uS=0.5, delay_s=0.25)


def rates(*, size: int, num_rounds: int) -> dict[str, Any]:
  """Returns SET pulses and reads per second of an array [size, size].

  Returns:
    'pulses_per_s', 'numpy_pulses_per_s', 'pulse_ratio', and the same of reads.
  """
  device, params = pcm.make(max_pulses=1), pcm.PCMParams()
  shape = size, size
  state = jax.jit(lambda: device.reset(
      jax.random.key(1), device.program(jax.random.key(0), jnp.zeros(shape)),
      jnp.ones(shape, bool)))()
  count = jax.device_count()
  where = NamedSharding(sharding.mesh(), PartitionSpec(
      *(() if size % count else (sharding.SHARD,))))
  state, ones = jax.device_put((state, jnp.ones(shape)), where)
  pulse, read = jax.jit(device.pulse), jax.jit(device.read)
  rng = np.random.default_rng(0)
  array = numpy_reference.fresh(rng, params, shape)
  taken = timing.interleaved({
      'pulses': lambda: pulse(jax.random.key(2), state, ones),
      'numpy_pulses': lambda: numpy_reference.pulse(rng, params, array),
      'reads': lambda: read(jax.random.key(3), state, 2.0),
      'numpy_reads': lambda: numpy_reference.read(rng, params, array, 2.0),
  }, num_rounds)
  out = {f'{name}_per_s': size ** 2 / float(values.min())
         for name, values in taken.items()}
  return out | {f'{name[:-1]}_ratio': timing.ratio(
      taken[f'numpy_{name}'], taken[name]) for name in ('pulses', 'reads')} | {
          'size': size}


def program_verify(*, size: int, num_rounds: int) -> dict[str, Any]:
  """Returns the cost of programming [size, size] pairs from RESET by reads.

  Returns:
    'ours_s', 'numpy_s', 'ratio', 'compile_s', 'pairs_per_s'; 'pulses_per_pair',
    'rounds' and 'converged', and the same of NumPy with the prefix 'numpy_'.
  """
  rng = np.random.default_rng(0)
  target_uS = rng.uniform(-LARGEST_uS, LARGEST_uS, (size, size)).astype(
      np.float32)
  key = jax.random.key(1)
  with timing.no_cache():
    began = time.perf_counter()
    program = jax.jit(_program).lower(key, jnp.asarray(target_uS)).compile()
    compile_s = time.perf_counter() - began
  in_numpy = functools.partial(
      numpy_reference.verify, rng, pcm.PCMParams(), target_uS, BUDGET,
      REFERENCE_S)
  run = functools.partial(program, key, jnp.asarray(target_uS))
  taken = timing.interleaved({'ours': run, 'numpy': in_numpy}, num_rounds)
  ours_s = float(taken['ours'].min())
  ended = jax.tree.map(float, run())
  return {
      'ours_s': ours_s, 'numpy_s': float(taken['numpy'].min()),
      'ratio': timing.ratio(taken['numpy'], taken['ours']),
      'compile_s': compile_s, 'pairs_per_s': size ** 2 / ours_s, 'size': size,
      **ended, **{f'numpy_{name}': value for name, value in in_numpy().items()}}


def _program(key, target_uS):
  """Returns the result of program-and-verify; see `numpy_reference.verify`."""
  chip = pcm.make(max_pulses=1)
  model = pcm.make(pcm.PCMParams(noise_scale=0.0), max_pulses=1)
  key_reset, key_verify = jax.random.split(key)
  blank = initial_programming.blank(
      key_reset, chip, model, (2, 1, *target_uS.shape), 1.0)
  _, info = program_verify_lib.program_and_verify(
      key_verify, chip, model, blank,
      program_verify_lib.pairs(target_uS, bidirectional=False), BUDGET,
      jnp.float32(REFERENCE_S))
  return {'pulses_per_pair': jnp.mean(info['num_pulses']),
          'rounds': info['num_rounds'], 'converged': info['converged']}
