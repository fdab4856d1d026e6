"""What all processes of a run do together, for those that do not write.

Process 0 does the same in `experiment`, and reads, writes and talks besides.
"""

from typing import NoReturn

import jax
import ml_collections

from meta_analog.config import build
from meta_analog.evaluation import energy_comparison
from meta_analog.evaluation import meta_testing
from meta_analog.experiment import run_keys
from meta_analog.runtime import distributed
from meta_analog.runtime import signals
from meta_analog.training import meta_training
from meta_analog.training import training_loop


class _Silence:
  """Takes what process 0 writes or shows."""

  def write(self, step, values):
    del step, values

  update = write


def run(config: ml_collections.ConfigDict, mode: str) -> NoReturn:
  """Computes this process's share of a run, until process 0 ends it.

  Args:
    config: checked.
    mode: see `run.run`.
  """
  silent = lambda *_: None
  if mode != 'replay':
    setup = build.build(config)
    trainer = meta_training.make(config, setup)
    keys = run_keys.make(config.seed)
    state = distributed.shared(jax.jit(trainer.init)(keys.init))
    if mode == 'energy':
      energy_comparison.run(config, state.params, keys.test, silent)
    else:
      if mode == 'train':
        state, _ = training_loop.run(
            config, trainer, state, keys.train,
            training_loop.Hooks(_Silence(), _Silence(), silent, silent,
                                lambda *_: distributed.wait(),
                                signals.Interrupts()), 0.0)
      meta_testing.run(config, setup, state.params, keys.test)
  distributed.wait()
