"""Gain of meta-training, pinned by short trainings of small nets."""

import functools

import jax
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.evaluation import meta_testing
from meta_analog.training import meta_training

SEEDS = range(5)
SMALL = {
    'network.hidden_sizes': (16, 16),
    'network.num_time_steps': 30,
    'crossbar.hidden_devices': 2,
    # Above the RESET state, whose pulses are so noisy that small nets need
    # longer trainings.
    'crossbar.floor_uS': 0.5,
    'training.num_steps': 150,
    'training.tasks_per_step': 8,
    'evaluation.num_tasks': 100,
    'evaluation.num_chips': 20,
    'evaluation.after_s': (251.0,),
}
SHORT = {  # configs/pcm.py as it stands, a twelfth of it
    'training.num_steps': 100,
    'evaluation.num_tasks': 100,
    'evaluation.num_chips': 20,
    'evaluation.after_s': (251.0,),
}


def config_of(changes):
  config = pcm.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


@functools.cache
def parts():
  """Returns the small config, what it names, and its compiled test."""
  config = config_of(SMALL)
  setup = build.build(config)
  params = jax.jit(meta_training.make(config,
                                      setup).init)(jax.random.key(0)).params
  return config, setup, meta_training.make(config,
                                           setup), meta_testing.compile_test(
                                               config, setup, params,
                                               jax.random.key(0))


def train(config, trainer, seed):
  """Returns meta-trained parameters."""
  key_init, key_train = jax.random.split(jax.random.key(seed))
  state = jax.jit(trainer.init)(key_init)
  for _ in range(config.training.num_steps):
    state, _ = trainer.update(state, key_train)
  return state.params


@functools.cache
def trained(seed):
  config, _, trainer, _ = parts()
  return train(config, trainer, seed)


def score(config, setup, params, seed=0, compiled=None):
  """Returns the summary of a test."""
  results, _ = meta_testing.run(
      config, setup, params, jax.random.key(1000 + seed), compiled)
  return meta_testing.summarize(config, setup, results)


@functools.cache
def score_at(seed, noise_scale):
  """Returns the error of a small net after adaptation, at a noise."""
  config, setup, _, compiled = parts()
  noisy = config_of(SMALL | {'device_params.pcm.noise_scale': noise_scale})
  return score(noisy, setup, trained(seed), seed, compiled)


def high(value):
  return value['mean'] + value['ci95']


def low(value):
  return value['mean'] - value['ci95']


@pytest.mark.slow
@pytest.mark.parametrize('seed', SEEDS)
def test_adaptation_beats_no_adaptation(seed):
  found = score_at(seed, 1.0)
  assert high(found['after']) < 0.5 * low(found['before'])
  assert high(found['after']) < 1.0  # 2.9 is the best without adaptation


@pytest.mark.slow
def test_devices_without_noise_are_better_and_noisier_ones_worse():
  means = [np.mean([score_at(seed, scale)['after']['mean'] for seed in SEEDS])
           for scale in (0.0, 1.0, 3.0)]
  assert 1.2 * means[0] < means[1] and 1.5 * means[1] < means[2], means


@pytest.mark.slow
def test_shuffled_labels_destroy_adaptation():
  config, setup, _, _ = parts()

  def sample(key, data=(), split='train'):
    key_task, key_order = jax.random.split(key)
    episode = setup.task.sample(key_task, data, split)
    order = jax.random.permutation(key_order, config.task.support_size)
    return episode._replace(
        support=episode.support._replace(y=episode.support.y[order]))

  shuffled = setup._replace(
      task=setup.task._replace(sample=sample),
      at_noise=lambda noise: setup.at_noise(noise)._replace(
          task=setup.task._replace(sample=sample)))
  found = score(config, shuffled, trained(0))
  assert low(found['after']) > 4.0 * score_at(0, 1.0)['after']['mean']
  assert low(found['after']) > 2.0


@pytest.mark.slow
def test_a_hundred_steps_of_the_pcm_config_beat_two_fifths(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '')  # so it is compiled as for users
  config = config_of(SHORT)
  setup = build.build(config)
  params = train(config, meta_training.make(config, setup), 0)
  found = score(config, setup, params)
  assert high(found['after']) < 0.4
