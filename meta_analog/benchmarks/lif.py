"""Two layers of LIF neurons, forwards and backwards, ours and those of peers.

Spikes [T, N, H] through a product, neurons, a product, neurons; the gradient of
the number of spikes with respect to both matrices. Peers are installed by
`pip install -e '.[peers]'` and measured where they are, on the cores of the
CPU for those of PyTorch.

Axes: T time step, N sample, H neuron.
"""

from collections.abc import Callable
import functools
from importlib import metadata
from importlib import util
import os
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.benchmarks import timing
from meta_analog.core import currents as currents_lib
from meta_analog.core import linalg
from meta_analog.core import sharding
from meta_analog.networks import lif
from meta_analog.networks import lif_fused
from meta_analog.runtime import environment

DECAY, THRESHOLD, RATE = 0.9, 0.3, 0.1
CHUNK = 4


class Size(NamedTuple):
  """Of the problem."""

  num_steps: int = 256
  num_samples: int = 256
  num_neurons: int = 128
  chunk: int = 0  # samples that ours computes together; 0: see `chunk_of`


def inputs(size: Size) -> tuple[np.ndarray, list[np.ndarray]]:
  """Returns spikes [T, N, H] and two matrices [H, H]."""
  rng, shape = np.random.default_rng(0), size[:3]
  spikes = (rng.random(shape, np.float32) < RATE).astype(np.float32)
  weights = [rng.normal(0.1, 1.0, (size.num_neurons,) * 2).astype(np.float32)
             for _ in range(2)]
  return spikes, weights


def counter(
    size: Size, activity_fn: Callable[..., currents_lib.Activity]
) -> Callable[..., jax.Array]:
  """Returns (matrices, spikes [T, N, H]) -> spikes of the last layer.

  Args:
    size: of the problem.
    activity_fn: `lif_fused.activity` or `lif.activity`.
  """
  neuron = lif.Neuron(DECAY, THRESHOLD)
  ones = jnp.ones((size.num_steps, 1))

  def count(weights, spikes):
    for matrix in weights:
      currents = linalg.matmul(spikes, matrix)
      source = currents_lib.Source(lambda steps, noise, fixed: steps[0],
                                   (currents,), (), (), size.num_steps)
      spikes, sums = activity_fn(source, neuron, ones)
    return jnp.sum(sums)

  return count


def make(
    size: Size, count_fn: Callable[..., jax.Array], chunk: int
) -> Callable[[], list[jax.Array]]:
  """Returns the gradient on all devices, so many samples at a time.

  Args:
    size: of the problem.
    count_fn: as `counter` returns.
    chunk: samples that are computed together; divides those of the problem.

  Returns:
    A function without arguments.
  """
  spikes, weights = inputs(size)
  num_chunks = size.num_samples // chunk
  spikes = jnp.stack(jnp.split(jnp.asarray(spikes), num_chunks, axis=1))

  def gradient(params, i, key, scale):
    del key
    weights, spikes = params
    return jax.grad(count_fn)(weights, scale * spikes[i])

  run = jax.jit(lambda *args: sharding.sum_in_order(
      sharding.map_over_devices(gradient, num_chunks, *args)))
  params = [jnp.asarray(w) for w in weights], spikes
  return functools.partial(run, params, jax.random.key(0), jnp.float32(1.0))


def measure(size: Size, *, num_rounds: int) -> dict[str, Any]:
  """Returns seconds of ours, of plain scans and of the installed peers.

  The plain form has the whole batch of a device at a time; the gain of chunks
  that fit the cache is given apart.
  """
  share = share_of(size)
  ours, scan = counter(size, lif_fused.activity), counter(size, lif.activity)
  chunk = chunk_of(size)
  fns = {'ours': make(size, ours, chunk), 'scan': make(size, scan, share)}
  if chunk != share:
    fns['scan_in_chunks'] = make(size, scan, chunk)
  os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # PyTorch's threads spin
  there = [name for name in PEERS if util.find_spec(name) is not None]
  fns |= {name: PEERS[name](size) for name in there}
  taken = timing.interleaved(fns, num_rounds)
  taken.setdefault('scan_in_chunks', taken['scan'])
  ratio = lambda name: timing.ratio(taken[name], taken['ours'])
  out = {f'{name}_s': float(taken[name].min())
         for name in ('ours', 'scan', 'scan_in_chunks')}
  peers = {name: {
      'seconds': float(taken[name].min()), 'ratio': ratio(name),
      'version': metadata.version(name)} for name in there}
  return out | {
      'ratio': ratio('scan'), 'ratio_in_chunks': ratio('scan_in_chunks'),
      'size': size._replace(chunk=chunk)._asdict(),
      'peers': dict.fromkeys(PEERS, 'not installed') | peers}


def share_of(size: Size) -> int:
  """Returns the samples of a device, or all where they do not divide."""
  count = jax.device_count()
  return size.num_samples // (1 if size.num_samples % count else count)


def chunk_of(size: Size) -> int:
  """Returns the chunk of a size, or what suits the machine.

  On a CPU four samples, for a core's cache; elsewhere all of a device.
  """
  on_cpu = jax.default_backend() == 'cpu'
  return size.chunk or (CHUNK if on_cpu else share_of(size))


def _torch_gradient(size, make_layers):
  """Returns the gradient in PyTorch; layers are (current, state) -> both."""
  import torch  # an extra
  torch.set_num_threads(environment.num_cores())
  arrays, matrices = inputs(size)
  spikes = torch.from_numpy(arrays)
  weights = [torch.from_numpy(w).requires_grad_() for w in matrices]
  layers = make_layers()

  def run():
    states, total = [None] * len(layers), 0.0
    for t in range(size.num_steps):
      now = spikes[t]
      for i, (matrix, layer) in enumerate(zip(weights, layers)):
        now, states[i] = layer(now @ matrix, states[i])
      total = total + now.sum()
    return [g.numpy() for g in torch.autograd.grad(total, weights)]

  return run


def _snntorch(size):
  import snntorch  # an extra
  from snntorch import surrogate

  def layer():
    neuron = snntorch.Leaky(
        beta=DECAY, threshold=THRESHOLD, reset_mechanism='subtract',
        spike_grad=surrogate.fast_sigmoid(slope=1))
    return lambda current, state: neuron(
        current, neuron.init_leaky() if state is None else state)

  return _torch_gradient(size, lambda: [layer(), layer()])


def _norse(size):
  from norse.torch import LIFBoxCell
  from norse.torch import LIFBoxParameters
  import torch  # an extra

  def layer():
    return LIFBoxCell(p=LIFBoxParameters(
        tau_mem_inv=torch.tensor((1.0 - DECAY) / 1e-3),
        v_th=torch.tensor(THRESHOLD)), dt=1e-3)

  return _torch_gradient(size, lambda: [layer(), layer()])


def _spyx(size):
  from flax import nnx  # an extra
  import spyx.nn as snn
  layers = [snn.LIF((size.num_neurons,), DECAY, THRESHOLD, rngs=nnx.Rngs(0))
            for _ in range(2)]

  def count(weights, spikes):
    def body(states, now):
      after = []
      for matrix, layer, state in zip(weights, layers, states):
        now, state = layer(linalg.matmul(now, matrix), state)
        after.append(state)
      return after, jnp.sum(now)

    start = [layer.initial_state(spikes.shape[1]) for layer in layers]
    return jnp.sum(jax.lax.scan(body, start, spikes)[1])

  return make(size, count, share_of(size))


PEERS = {'snntorch': _snntorch, 'norse': _norse, 'spyx': _spyx}
