"""Runs a study, rows of configs times seeds; makes one table and one figure.

    python launch/study.py --config configs/studies/sinusoid.py \\
        --workdir runs/sinusoid --processes 2
    python launch/study.py --config configs/pcm.py --seeds 0,1,2 --vmap
    python launch/study.py --config configs/studies/sinusoid.py:pcm,perf \\
        --scheduler HOST:8786 --workdir FOLDER_THAT_ALL_MACHINES_SEE
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['study', *sys.argv[1:]])
