"""A small learner, 1-8-8-1 over 20 time steps, for tests of the assembly."""

import functools

import jax
import jax.numpy as jnp

from meta_analog.crossbar import drift_compensation
from meta_analog.devices import ideal
from meta_analog.devices import pcm
from meta_analog.learning import learner
from meta_analog.learning import maml
from meta_analog.learning import meta_parameters
from meta_analog.learning import update_rules
from meta_analog.networks import chip
from meta_analog.networks import lif
from meta_analog.networks import network as network_lib

SIZES = (1, 8, 8, 1)
NUM_STEPS = 20
START = 5
DECAY = 0.9
READOUT_DECAY = 0.8
TIMES = learner.Times(
    calibrate_s=40.0, write_delay_s=1.0, write_duration_s=0.0,
    settle_s=5.0, reference=151.0)
SCHEDULE = maml.Schedule(support_s=100.0, interval_s=10.0, query_s=151.0)


@functools.cache
def pcm_pair(params=pcm.PCMParams(), max_pulses=7):
  """Returns the noisy device and the controller's noise-free one."""
  return (pcm.make(params, max_pulses=max_pulses),
          pcm.make(params._replace(noise_scale=0.0), max_pulses=max_pulses))


@functools.cache
def ideal_pair(step_uS=0.1):
  """Returns the ideal device twice."""
  device = ideal.make(ideal.IdealParams(step_uS=step_uS))
  return device, device


def network(
    num_devices=(1, 1, 2), fresh_share=0.5, activity_fn=lif.activity,
    periphery=network_lib.EXACT, compensation='none',
    clock=jnp.ones_like, num_channels=1):
  """Returns the fixed part of the small net."""
  return network_lib.Network(
      activity_fn=activity_fn,
      neuron=lif.Neuron(decay=jnp.float32(DECAY)),
      readout=lif.readout_weights(
          NUM_STEPS, jnp.float32(READOUT_DECAY), start=START),
      readout_start=START,
      readout_decay=jnp.float32(READOUT_DECAY),
      dt_ms=1.0,
      num_devices=num_devices,
      span_uS=10.0,
      floor_uS=0.1,
      fresh_share=fresh_share,
      periphery=periphery,
      compensation=drift_compensation.make(compensation, clock),
      num_channels=num_channels)


def make(devices, net=None, *, keep_trace=False, **rule):
  """Returns a learner; rule overrides the nearest delta rule of 4 bits."""
  settings = {'rule': 'delta', 'encoding': 'nearest', 'update_bits': 4}
  hardware = chip.Hardware(*devices, net or network())
  return learner.make(
      hardware, update_rules.make(**{**settings, **rule}), TIMES,
      keep_trace=keep_trace)


def theta(seed=0, sizes=SIZES, gain=0.4, rate=0.5, threshold=0.5):
  """Returns meta-parameters with lively hidden layers."""
  keys = jax.random.split(jax.random.key(seed), len(sizes) - 1)
  layers = tuple(
      network_lib.LayerParams(
          u=jax.random.normal(key, (num_inputs + 1, num_outputs)),
          log_gain=jnp.log(jnp.float32(gain)))
      for key, num_inputs, num_outputs in zip(
          keys, sizes[:-1], sizes[1:], strict=True))
  num_layers = len(layers)
  return meta_parameters.Theta(layers, meta_parameters.RuleParams(
      log_rate=jnp.log(jnp.full(num_layers, rate)),
      log_threshold=jnp.log(jnp.full(num_layers, threshold)),
      log_penalty=jnp.log(jnp.float32(0.01)),
      log_write_noise_penalty=jnp.log(jnp.float32(0.01))))
