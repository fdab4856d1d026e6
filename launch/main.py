"""Meta-trains, tests and draws one config; or tests or replays a run.

    python launch/main.py --config configs/pcm.py
    python launch/main.py --mode=evaluate --workdir runs/pcm
    python launch/main.py --mode=replay --workdir runs/pcm
    python launch/main.py --config configs/omniglot.py --mode=evaluate \\
        --checkpoint FILE.npz
"""

import sys

from absl import flags

from meta_analog.experiment import command_line
from meta_analog.experiment import evaluate
from meta_analog.experiment import run
from meta_analog.runtime import compilation
from meta_analog.runtime import environment


def main(argv: list[str]) -> None:
  """Flags in, experiment out."""
  del argv
  compilation.set_up(flags.FLAGS.cache_dir, print)
  environment.use_all_cores()
  if flags.FLAGS.checkpoint:
    evaluate.of_file(flags.FLAGS.config,
                     flags.FLAGS.checkpoint,
                     command_line.workdir(),
                     flags.FLAGS.mode,
                     overrides=command_line.overrides(),
                     stop=command_line.STOP)
    return
  with command_line.joined():
    run.run(
        flags.FLAGS.config, command_line.workdir(), flags.FLAGS.mode,
        overrides=command_line.overrides(), wandb=flags.FLAGS.wandb,
        stop=command_line.STOP)


if __name__ == '__main__':
  command_line.define(run.MODES)
  command_line.start(sys.argv, main)
