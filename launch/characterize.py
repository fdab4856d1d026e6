"""Measures a config's device on 100,000 simulated devices, and draws it.

    python launch/characterize.py --config configs/pcm.py
    python launch/characterize.py --config configs/pcm.py --config.device=ideal
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['characterize', *sys.argv[1:]])
