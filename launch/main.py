"""Meta-trains, tests and draws one config, or tests a finished run again.

    python launch/main.py --config configs/pcm.py
    python launch/main.py --mode=evaluate --workdir runs/pcm
"""

import sys

from absl import flags

from meta_analog import command
from meta_analog import experiment


def main(argv: list[str]) -> None:
  """Flags in, experiment out."""
  del argv
  experiment.use_all_cores()
  experiment.run(flags.FLAGS.config, command.workdir(), flags.FLAGS.mode)


if __name__ == '__main__':
  command.define(experiment.MODES)
  command.start(sys.argv, main)
