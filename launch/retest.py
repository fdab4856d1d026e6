"""Tests a trained run under other conditions, into a folder of its own.

    python launch/retest.py --config configs/pcm.py --run runs/pcm \
        --workdir runs/pcm_frozen --config.crossbar.fresh_read_share=0

Without --run the net is tested as it is before meta-training.
"""

import sys

from absl import flags

from meta_analog.experiment import command_line
from meta_analog.experiment import evaluate
from meta_analog.runtime import compilation
from meta_analog.runtime import environment


def main(argv: list[str]) -> None:
  """Flags in, test out."""
  del argv
  compilation.set_up(flags.FLAGS.cache_dir, print)
  environment.use_all_cores()
  evaluate.run(flags.FLAGS.config,
               flags.FLAGS.run,
               flags.FLAGS.workdir,
               overrides=command_line.overrides(),
               stop=command_line.STOP)


if __name__ == '__main__':
  command_line.define()
  flags.DEFINE_string('run', None, 'Folder of the run whose net is tested')
  flags.mark_flag_as_required('workdir')
  command_line.start(sys.argv, main)
