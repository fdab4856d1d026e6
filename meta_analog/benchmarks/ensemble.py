"""What a sweep gains over separate runs, measured side by side.

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
from meta_analog.config import sweep_settings
from meta_analog.training import ensemble
from meta_analog.training import meta_training

SEEDS = (0, 1, 2, 3)  # of the members
NUM_STEPS, ROUNDS = 20, 3
QUICK_STEPS, QUICK_ROUNDS = 5, 2


def measure(
    config: ml_collections.ConfigDict, quick: bool = False
) -> dict[str, Any]:
  """Returns the seconds of a short sweep and of its members' separate runs.

  They take turns and the best round counts, so that what else the machine does
  harms both alike. Nothing comes from the compilation cache. One separate run
  is compiled and counts as often as there are members, for each is a process.

  Args:
    config: checked; its seed and its sweep are replaced.
    quick: fewer steps and rounds.

  Returns:
    'members', 'members_at_once', 'steps'; 'sweep_s' and 'separate_s', the steps
    of all members; 'gain', of separate_s over sweep_s; 'sweep_compile_s' and
    'separate_compile_s'; 'gain_with_compile', of the sums.
  """
  swept = ml_collections.ConfigDict(config.to_dict())
  swept.sweep.noise_scales = swept.sweep.learning_rates = ()
  swept.sweep.seeds = SEEDS
  members = sweep_settings.members(swept)
  single = sweep_settings.config_of(swept, members[0])
  trainer = meta_training.make(single, build.build(single))
  num_steps, rounds = ((QUICK_STEPS, QUICK_ROUNDS) if quick
                       else (NUM_STEPS, ROUNDS))
  keys = [jax.random.split(jax.random.key(seed)) for seed in SEEDS]
  init = jax.jit(trainer.init)
  separate = [(trainer, init(key_init), key) for key_init, key in keys]
  together = ensemble.make(swept)
  sweep = [(together, together.init(jnp.stack([key for key, _ in keys])),
            jnp.stack([key for _, key in keys]))]
  with timing.no_cache():
    first = {'sweep': _seconds(sweep, 1), 'separate': _seconds(separate[:1], 1)}
  times = {'sweep': [], 'separate': []}
  for _ in range(rounds):
    times['sweep'].append(_seconds(sweep, num_steps))
    times['separate'].append(_seconds(separate, num_steps))
  sweep_s, separate_s = min(times['sweep']), min(times['separate'])
  compile_s = first['sweep'] - sweep_s / num_steps
  compile_all_s = (len(SEEDS) * first['separate'] - separate_s / num_steps)
  return {
      'members': len(SEEDS), 'members_at_once': ensemble.members_at_once(swept),
      'steps': num_steps, 'sweep_s': sweep_s, 'separate_s': separate_s,
      'gain': separate_s / sweep_s, 'sweep_compile_s': compile_s,
      'separate_compile_s': compile_all_s, 'gain_with_compile':
          (separate_s + compile_all_s) / (sweep_s + compile_s)
  }


def _seconds(runs, num_steps):
  """Returns how long so many steps of each run take, one run after another."""
  began = time.perf_counter()
  for trainer, state, key in runs:
    for _ in range(num_steps):
      state, _ = trainer.update(state, key)
    jax.block_until_ready(state)
  return time.perf_counter() - began
