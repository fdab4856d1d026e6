"""Meta-trains, tests and draws one config; or tests or replays a run.

    python launch/main.py --config configs/pcm.py
    python launch/main.py --mode=evaluate --workdir runs/pcm
    python launch/main.py --mode=replay --workdir runs/pcm
    python launch/main.py --config configs/omniglot.py --mode=evaluate \\
        --checkpoint FILE.npz
"""

import sys

from absl import flags

from meta_analog import command
from meta_analog import compilation
from meta_analog import environment
from meta_analog import experiment
from meta_analog import retest


def main(argv: list[str]) -> None:
  """Flags in, experiment out."""
  del argv
  compilation.keep(flags.FLAGS.cache_dir, print)
  environment.use_all_cores()
  if flags.FLAGS.checkpoint:
    retest.of_file(
        flags.FLAGS.config, flags.FLAGS.checkpoint, command.workdir(),
        flags.FLAGS.mode, overrides=command.overrides(), stop=command.STOP)
    return
  with command.joined():
    experiment.run(
        flags.FLAGS.config, command.workdir(), flags.FLAGS.mode,
        overrides=command.overrides(), wandb=flags.FLAGS.wandb,
        stop=command.STOP)


if __name__ == '__main__':
  command.define(experiment.MODES)
  command.start(sys.argv, main)
