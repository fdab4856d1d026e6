"""Drift compensation of every layer of the shipped networks is unbiased.

    python -m pytest -m slow -s tests/networks/test_shipped_drift.py

prints by how much each layer errs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import nmnist
from configs import omniglot
from configs import pcm
from meta_analog.config import build_hardware
from meta_analog.config import build_task
from meta_analog.core import clock
from meta_analog.networks import chip as chip_lib
from meta_analog.networks import network as network_lib
from meta_analog.programming import controller

pytestmark = pytest.mark.slow
TIMES_S = (251.0, 86400.0, 31536000.0)
# Networks whose devices drift: config of each file, and a number of chips.
SHIPPED = {'pcm': (pcm.get_config, 200),
           'closed_loop': (lambda: pcm.get_config('closed_loop'), 200),
           'omniglot': (omniglot.get_config, 20),
           'nmnist': (nmnist.get_config, 20)}


def _layers(name):
  """Returns the crossbars' parameters of a shipped file."""
  with np.load(build_task.located(f'configs/pretrained/{name}.npz')) as file:
    arrays = dict(file)
  of = lambda i, end: next(value for key, value in arrays.items()
                           if f'layer_{i}' in key and key.endswith(end))
  count = len({key for key in arrays if 'layer_' in key and key.endswith('u')})
  return tuple(network_lib.LayerParams(
      jnp.asarray(of(i, 'u')), jnp.asarray(of(i, 'log_gain')))
               for i in range(count))


def _hardware(config, num_layers, compensation):
  """Returns the hardware of a config with this compensation of drift."""
  config.crossbar.drift_compensation = compensation
  on = functools.partial(build_hardware.make_device, config, 1.0, 1)
  return chip_lib.Hardware(
      on(layer='output'), on(layer='output', noise_free=True),
      build_hardware.make_network(config, num_layers),
      hidden_device=on(layer='hidden'),
      hidden_noise_free=on(layer='hidden', noise_free=True))


def _gains(name, compensation):
  """Returns gains [T, L] of the layers of compensated chips, and errors.

  The gain of the weights w since the reference age of drift, by the estimate e:
  sum e factor w(t) / sum e w, over all chips; its error is that of their
  scatter.
  """
  (make_config, num_chips), layers = SHIPPED[name], _layers(name)
  config = make_config()
  hardware = _hardware(config, len(layers), compensation)

  def sums(key):
    key_program, key_read = jax.random.split(key)
    chip = chip_lib.program_chip(
        key_program, hardware, layers, config.crossbar.calibrate_after_s)
    keys = iter(jax.random.split(key_read, len(TIMES_S) * len(layers)))
    return jnp.stack([jnp.stack([
        _sums(next(keys), hardware, chip, i, time_s)
        for i in range(len(layers))]) for time_s in TIMES_S])

  run = jax.jit(sums)
  found = [run(jax.random.key(seed)) for seed in range(num_chips)]
  then, now = np.moveaxis(np.float64(found), -1, 0)
  gain = now.sum(axis=0) / then.sum(axis=0)
  scatter = np.std(now - gain * then, axis=0) / then.mean(axis=0)
  return gain, scatter / np.sqrt(num_chips)


def _sums(key, hardware, chip, i, time_s):
  """Returns sum e w and sum e factor w(t) of layer i."""
  device, noise_free = chip_lib.devices_of(hardware, i)
  crossbar = chip.crossbars[i]
  estimate = controller.difference(crossbar.estimate.g_uS)
  before = controller.difference(crossbar.devices.g_uS)
  now = controller.difference(device.read_stats(crossbar.devices, time_s)[0])
  reading, *_ = chip_lib.read_layer(
      key, hardware, chip, i, clock.exact(time_s))
  factor = jnp.reshape(reading.factor, (1, -1))
  return jnp.stack([jnp.sum(estimate * before),
                    jnp.sum(estimate * now * factor)])


@pytest.mark.parametrize('compensation', ['clock', 'global', 'column'])
@pytest.mark.parametrize('name', sorted(SHIPPED))
def test_no_layer_of_a_shipped_network_is_compensated_by_a_biased_factor(
    name, compensation):
  gain, error = _gains(name, compensation)
  for time_s, line in zip(TIMES_S, zip(gain, error)):
    print(f'{name} {compensation} {time_s:9.0f} s', *(
        f'{100 * (g - 1):6.2f} +- {100 * e:4.2f} %' for g, e in zip(*line)))
  assert np.all(np.abs(gain - 1) < 0.005 + 3 * error)
