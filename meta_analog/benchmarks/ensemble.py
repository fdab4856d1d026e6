"""Gain of ensemble training over separate runs, measured side by side.

Training steps and their compilation; what a run does before and after (start
of the process, test, figures) is left out.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from meta_analog.benchmarks import timing
from meta_analog.config import build
from meta_analog.training import ensemble
from meta_analog.training import meta_training

SEEDS = (0, 1, 2, 3)
NUM_STEPS, ROUNDS = 20, 3
QUICK_STEPS, QUICK_ROUNDS = 5, 2


def measure(
    config: ml_collections.ConfigDict, quick: bool = False
) -> dict[str, Any]:
  """Returns the seconds of a short ensemble training and of separate runs.

  They take turns and the best round counts, so that what else the machine does
  harms both alike. Nothing comes from the compilation cache. One separate run
  is compiled and counts as often as there are seeds, for each is a process.

  Args:
    config: checked; its seed is not used.
    quick: fewer steps and rounds.

  Returns:
    'runs', 'width', 'steps'; 'ensemble_s' and 'separate_s', the steps of all
    runs; 'gain', of separate_s over ensemble_s; 'ensemble_compile_s' and
    'separate_compile_s'; 'gain_with_compile', of the sums.
  """
  trainer = meta_training.make(config, build.build(config))
  num_steps, rounds = ((QUICK_STEPS, QUICK_ROUNDS) if quick
                       else (NUM_STEPS, ROUNDS))
  keys = [jax.random.split(jax.random.key(seed)) for seed in SEEDS]
  init = jax.jit(trainer.init)
  separate = [(trainer, init(key_init), key) for key_init, key in keys]
  together = ensemble.make(config, len(SEEDS))
  joint = [(together, together.init(jnp.stack([key for key, _ in keys])),
            jnp.stack([key for _, key in keys]))]
  with timing.no_cache():
    first = {'joint': _seconds(joint, 1), 'separate': _seconds(separate[:1], 1)}
  times = {'joint': [], 'separate': []}
  for _ in range(rounds):
    times['joint'].append(_seconds(joint, num_steps))
    times['separate'].append(_seconds(separate, num_steps))
  joint_s, separate_s = min(times['joint']), min(times['separate'])
  compile_s = first['joint'] - joint_s / num_steps
  compile_all_s = (len(SEEDS) * first['separate'] - separate_s / num_steps)
  return {
      'runs': len(SEEDS), 'width': ensemble.default_width(len(SEEDS)),
      'steps': num_steps, 'ensemble_s': joint_s, 'separate_s': separate_s,
      'gain': separate_s / joint_s, 'ensemble_compile_s': compile_s,
      'separate_compile_s': compile_all_s, 'gain_with_compile':
          (separate_s + compile_all_s) / (joint_s + compile_s)
  }


def _seconds(runs, num_steps):
  """Returns how long so many steps of each run take, one run after another."""
  began = time.perf_counter()
  for trainer, state, key in runs:
    for _ in range(num_steps):
      state, _ = trainer.update(state, key)
    jax.block_until_ready(state)
  return time.perf_counter() - began
