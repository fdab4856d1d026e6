"""Measures how fast this machine trains, beside what else could do the work.

    python launch/benchmark.py --workdir runs/benchmark
    python launch/benchmark.py --quick

Writes benchmark.json to --workdir, by default runs/benchmark.
"""

import os
import pathlib
import sys

from absl import flags

from meta_analog.benchmarks import suite
from meta_analog.experiment import command_line
from meta_analog.runtime import compilation
from meta_analog.runtime import environment

CONFIG = pathlib.Path(__file__).parents[1] / 'configs' / 'pcm.py'


def main(argv: list[str]) -> None:
  """Flags in, benchmark out."""
  del argv
  compilation.set_up(flags.FLAGS.cache_dir, print)
  environment.use_all_cores()
  workdir = flags.FLAGS.workdir or os.path.join('runs', 'benchmark')
  suite.run(flags.FLAGS.config, workdir, flags.FLAGS.quick)


if __name__ == '__main__':
  command_line.define()
  flags.DEFINE_bool('quick', False, 'Fewer tasks, points and repetitions')
  command_line.start(sys.argv, main, config=str(CONFIG))
