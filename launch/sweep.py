"""Runs a declared grid of cases times seeds; makes one table and one figure.

    python launch/sweep.py --config configs/studies/sinusoid.py \\
        --workdir runs/sinusoid
    python launch/sweep.py --config configs/studies/sinusoid.py:pcm,perf \\
        --processes 2

After every job it writes table.md, table.json and table.png to --workdir, by
default runs/<config>. The same command goes on where it stopped.
"""

import sys

from absl import flags

from meta_analog.experiment import command_line
from meta_analog.runtime import environment
from meta_analog.studies import study


def main(argv: list[str]) -> None:
  """Flags in, table out."""
  del argv
  environment.leave_accelerators()
  study.run(flags.FLAGS.config,
            command_line.workdir(),
            flags.FLAGS.processes,
            cache_dir=flags.FLAGS.cache_dir,
            stop=command_line.STOP)


if __name__ == '__main__':
  command_line.define()
  flags.DEFINE_integer(
      'processes', 1, 'Jobs at once, which share the cores', lower_bound=1)
  command_line.start(sys.argv, main)
