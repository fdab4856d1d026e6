"""Runs a study, rows of configs times seeds; makes one table and one figure.

    python launch/sweep.py --config configs/studies/sinusoid.py \\
        --workdir runs/sinusoid
    python launch/sweep.py --config configs/studies/sinusoid.py:pcm,perf \\
        --processes 2
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['study', *sys.argv[1:]])
