"""Measures how fast this machine trains, beside what else could do the work.

    python launch/benchmark.py --workdir runs/benchmark
    python launch/benchmark.py --quick

Writes benchmark.json to --workdir, by default runs/benchmark.
"""

import os
import pathlib
import sys

from absl import flags

from meta_analog import benchmark
from meta_analog import command
from meta_analog import compilation
from meta_analog import environment

CONFIG = pathlib.Path(__file__).parents[1] / 'configs' / 'pcm.py'


def main(argv: list[str]) -> None:
  """Flags in, benchmark out."""
  del argv
  compilation.keep(flags.FLAGS.cache_dir, print)
  environment.use_all_cores()
  workdir = flags.FLAGS.workdir or os.path.join('runs', 'benchmark')
  benchmark.run(flags.FLAGS.config, workdir, flags.FLAGS.quick)


if __name__ == '__main__':
  command.define()
  flags.DEFINE_bool('quick', False, 'Fewer tasks, points and repetitions')
  command.start(sys.argv, main, config=str(CONFIG))
