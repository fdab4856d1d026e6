"""Measures a config's device on 100,000 simulated devices, and draws it.

    python launch/characterize.py --config configs/pcm.py
    python launch/characterize.py --config configs/pcm.py --config.device=ideal

Writes characterization.json and characterization.png to --workdir, by default
runs/<device>_characterization.
"""

import os
import sys

from absl import flags

from meta_analog import characterization
from meta_analog import command
from meta_analog import compilation


def main(argv: list[str]) -> None:
  """Flags in, characterisation out."""
  del argv
  compilation.keep(flags.FLAGS.cache_dir, print)
  config = flags.FLAGS.config
  default = os.path.join('runs', f'{config.device}_characterization')
  characterization.run(config, flags.FLAGS.workdir or default)


if __name__ == '__main__':
  command.define()
  command.start(sys.argv, main)
