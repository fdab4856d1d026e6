"""Measures how fast this machine trains, beside what else could do the work.

    python launch/benchmark.py --workdir runs/benchmark
    python launch/benchmark.py --quick
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['benchmark', *sys.argv[1:]])
