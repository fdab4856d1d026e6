"""What all processes of a run do together, for those that do not write.

Process 0 does the same in `experiment`, and reads, writes and talks besides.
"""

from typing import NoReturn

import jax
import ml_collections

from meta_analog import assembly
from meta_analog import energy_cases
from meta_analog import evaluation
from meta_analog import hosts
from meta_analog import interrupts
from meta_analog import loop
from meta_analog import training


class _Silence:
  """Takes what process 0 writes or shows."""

  def write(self, step, values):
    del step, values

  update = write


def run(config: ml_collections.ConfigDict, mode: str) -> NoReturn:
  """Computes this process's share of a run, until process 0 ends it.

  Args:
    config: checked.
    mode: see `experiment.run`.
  """
  silent = lambda *_: None
  if mode != 'replay':
    setup = assembly.build(config)
    trainer = training.make(config, setup)
    keys = jax.random.split(jax.random.key(config.seed), 5)
    state = hosts.shared(jax.jit(trainer.init)(keys[0]))
    if mode == 'energy':
      energy_cases.run(config, state.params, keys[2], silent)
    else:
      if mode == 'train':
        state, _ = loop.run(
            config, trainer, state, keys[1],
            loop.Hooks(_Silence(), _Silence(), silent, silent,
                       lambda *_: hosts.wait(), interrupts.Interrupts()), 0.0)
      evaluation.run(config, setup, state.params, keys[2])
  hosts.wait()
