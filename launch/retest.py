"""Tests a trained run under other conditions, into a folder of its own.

    python launch/retest.py --config configs/pcm.py --run runs/pcm \\
        --workdir runs/pcm_frozen --config.crossbar.fresh_read_share=0

Without --run the net is tested as it is before meta-training.
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli._start('retest', cli._RETEST, sys.argv[1:])
