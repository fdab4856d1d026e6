"""Meta-trains, tests and draws one config; or evaluates a trained network.

    python launch/main.py --config configs/pcm.py
    python launch/main.py --mode=evaluate --workdir runs/pcm
    python launch/main.py --mode=evaluate --source runs/pcm \\
        --workdir runs/pcm_frozen --config.crossbar.fresh_read_share=0
    python launch/main.py --mode=evaluate --config configs/omniglot.py \\
        --source FILE.npz
    python launch/main.py --mode=reproduce --workdir runs/pcm
"""

import sys

from meta_analog import cli

if __name__ == '__main__':
  cli.main(['train', *sys.argv[1:]])
