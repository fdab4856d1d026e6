"""Measures a config's device on 100,000 simulated devices, and draws it.

    python launch/characterize.py --config configs/pcm.py
    python launch/characterize.py --config configs/pcm.py --config.device=ideal

Writes characterization.json and characterization.png to --workdir, by default
runs/<device>_characterization.
"""

import os
import sys

from absl import flags

from meta_analog.evaluation import characterization
from meta_analog.experiment import command_line
from meta_analog.runtime import compilation


def main(argv: list[str]) -> None:
  """Flags in, characterisation out."""
  del argv
  compilation.set_up(flags.FLAGS.cache_dir, print)
  config = flags.FLAGS.config
  default = os.path.join('runs', f'{config.device}_characterization')
  characterization.run(config, flags.FLAGS.workdir or default)


if __name__ == '__main__':
  command_line.define()
  command_line.start(sys.argv, main)
