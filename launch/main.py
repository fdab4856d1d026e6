"""Meta-trains, tests and draws one config; or evaluates or replays a run.

    python launch/main.py --config configs/pcm.py
    python launch/main.py --mode=evaluate --workdir runs/pcm
    python launch/main.py --mode=replay --workdir runs/pcm
    python launch/main.py --config configs/omniglot.py --mode=evaluate \\
        --checkpoint FILE.npz
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['train', *sys.argv[1:]])
