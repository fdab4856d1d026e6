"""Training steps and tests of nets as programs that are kept."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import pcm
from meta_analog.config import build
from meta_analog.evaluation import meta_testing
from meta_analog.training import meta_training
from tests.helpers import kept

ROOT = pathlib.Path(__file__).parents[2]


def test_programs_of_tasks_with_data_are_not_kept(tmp_path, monkeypatch):
  kept.keep_in(tmp_path, monkeypatch)
  config = pcm.get_config('tiny')
  setup = build.build(config)
  trainer = meta_training.make(config, setup)
  key = jax.random.key(0)
  state = jax.jit(trainer.init)(key)
  monkeypatch.setattr(
      meta_training, 'make_uncompiled',
      lambda config, setup, rate: trainer._replace(update=lambda state, key:
                                                   (state, {'rate': rate})))
  monkeypatch.setattr(meta_testing, 'make_test',
                      lambda config, setup: lambda params, key: {'x': key})
  numbers = []
  for data in ((np.zeros(3),), ()):
    setup = build.with_data(setup, data)
    meta_training.lower(config, meta_training.make(config, setup), state, key)
    for keep in (False, True):
      meta_testing.compile_test(config, setup, state.params, key, keep=keep)
      numbers.append(len([*tmp_path.iterdir()]))
  assert numbers == [0, 0, 1, 2]


# Two steps of a net, compiled as for users, by a program kept in argv[1].
CHILD = '''
import hashlib, json, math, sys
from meta_analog import compilation, environment, programs
compilation.keep(sys.argv[1], print)
environment.use_all_cores()
programs.BEGAN_S = math.inf
import jax, numpy as np
from configs import pcm
from meta_analog import assembly, training

config = pcm.get_config('tiny')
config.training.num_steps = compilation.SHORT_RUN
trainer = training.make(config, assembly.build(config))
make, traced = training.make_uncompiled, []
training.make_uncompiled = lambda *args: traced.append(None) or make(*args)
key = jax.random.key(0)
state = jax.jit(trainer.init)(key)
step = training.lower(config, trainer, state, key).compile()
out = []
for _ in range(2):
  state, info = step(state, key, **trainer.update.keywords)
  out.append((state, info))
digest = hashlib.sha256()
for leaf in jax.tree.leaves(out):
  digest.update(np.asarray(leaf).tobytes())
print(json.dumps([len(traced), digest.hexdigest()]))
'''


@pytest.mark.slow
def test_steps_of_a_net_are_the_same_bits_kept_or_not(tmp_path):
  script = tmp_path / 'child.py'
  script.write_text(CHILD)

  def child(folder):
    done = subprocess.run(
        [sys.executable, script, folder], check=True, capture_output=True,
        text=True, env=os.environ | {'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''})
    return json.loads(done.stdout)

  plain, folder = child(''), str(tmp_path / 'programs')
  assert plain[0] == 1
  assert child(folder) == plain
  assert child(folder) == [0, plain[1]]
