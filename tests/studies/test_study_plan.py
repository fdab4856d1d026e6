"""Studies: what they declare, and what is refused."""

import pathlib
import re

import jax
import ml_collections
import numpy as np
import pytest

from configs import nmnist
from configs import omniglot
from configs import pcm
from configs.studies import ablations
from configs.studies import few_shot
from configs.studies import sinusoid
from meta_analog.config import build
from meta_analog.config import build_task
from meta_analog.core import errors
from meta_analog.networks import network
from meta_analog.studies import plan as plan_lib
from meta_analog.studies import rows as rows_lib
from meta_analog.training import params_file
from tests.helpers import small_data
from tests.helpers import small_studies

TRAINED = small_studies.TRAINED
EVALUATED = small_studies.EVALUATED
_config = small_studies.config
ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('module', (sinusoid, ablations, few_shot))
def test_the_results_have_every_row(module):
  pages = [path.read_text() for path in (ROOT / 'docs/results').glob('*.md')]
  cells = {cell.strip() for text in pages for cell in text.split('|')}
  missing = ' '.join(text.partition('Missing:')[2] for text in pages)
  assert not [row['name'] for row in module.ROWS
              if row['label'] not in cells and row['name'] not in missing]


@pytest.mark.slow
@pytest.mark.parametrize('argument', ('', 'tiny'))
def test_every_row_of_few_shot_can_be(argument, tmp_path, monkeypatch):
  monkeypatch.setenv('META_ANALOG_DATA', small_data.real('omniglot'))
  small_data.real('nmnist')
  plan = plan_lib.make(few_shot.get_config(argument), tmp_path)
  assert len(plan.runs) == len(few_shot.ROWS)
  assert {run.config.device for run in plan.runs} == {'ideal', 'pcm'}


@pytest.mark.parametrize('module', (omniglot, nmnist))
def test_shipped_meta_parameters_fit_their_nets(module, monkeypatch):
  name = module.get_config().name
  monkeypatch.setenv('META_ANALOG_DATA', small_data.real(name))
  theta = build.build(module.get_config()).transforms.theta
  like = jax.jit(theta.init)(jax.random.key(0))
  path = build_task.located(f'configs/pretrained/{name}.npz')
  assert path.stat().st_size < 2e6
  params = params_file.load(path, like)
  hidden = params_file.load_hidden(
      build_task.located(few_shot.PRETRAINED[name]), like)
  # Meta-training began with the hidden layers, and moved them a little.
  module = next(name for name in like if name.endswith('layer_1'))
  move = np.abs(params[module]['u'] - hidden[module]['u'])
  assert 0 < np.mean(move) < 0.1 * np.mean(np.abs(hidden[module]['u']))


def test_what_few_shot_begins_with_fits_its_nets(monkeypatch):
  monkeypatch.setenv('META_ANALOG_DATA', small_data.real('omniglot'))
  path = build_task.located(few_shot.PRETRAINED['omniglot'])
  assert path.stat().st_size < 2e6
  weights = []
  for name, _, variant in few_shot.DEVICES:
    setup = build.build(omniglot.get_config(variant))
    like = jax.jit(setup.transforms.theta.init)(jax.random.key(0))
    params = params_file.load_hidden(path, like)
    assert sum(params[name] is not like[name] for name in like) == len(
        setup.network.conv_shapes)
    layers = jax.jit(lambda params, setup=setup: network.exact_readings(
        setup.transforms.theta.apply(params).layers, setup.network))(params)
    weights.append([layer.reading.weights for layer in layers[:-1]])
    # The same weights, on however many devices.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(
        x, y, rtol=1e-4, atol=1e-5, err_msg=name), weights[0], weights[-1])


@pytest.mark.parametrize('argument', (
    pytest.param('', marks=pytest.mark.slow), 'tiny'))
@pytest.mark.parametrize('module', (sinusoid, ablations))
def test_every_row_of_a_study_can_be(module, argument):
  plan = plan_lib.make(module.get_config(argument), pathlib.Path('x'))
  assert len(plan.runs) == len(module.ROWS) * len(plan.seeds)
  for run in plan.runs:
    assert run.config.seed == run.seed
    num_steps = run.config.training.num_steps
    small = num_steps == rows_lib.TINY['training.num_steps']
    assert small == (argument == 'tiny')
    # Drift is followed through the same dates in every row.
    assert run.config.evaluation.after_s == pcm.get_config().evaluation.after_s


def test_a_row_brings_its_source():
  names = [row['name'] for row in sinusoid.get_config('untrained').rows]
  assert names == ['pcm', 'untrained']


def test_a_run_has_the_changes_of_its_row_and_of_its_source():
  plan = plan_lib.make(_config(TRAINED | {'overrides': {
      'adapt.num_events': 3, 'network.hidden_sizes': (4, 6)}}, EVALUATED),
      pathlib.Path('x'))
  assert [run.name for run in plan.runs] == [
      'a/seed=0', 'b/seed=0', 'a/seed=1', 'b/seed=1']
  trained, evaluated = plan.runs[2:]
  assert evaluated.needs == trained.name and trained.needs is None
  for run in (trained, evaluated):
    assert run.config.adapt.num_events == 3
    assert run.config.network.hidden_sizes == (4, 6)
  assert trained.config.crossbar.fresh_read_share == 0.65
  assert evaluated.config.crossbar.fresh_read_share == 0.0


def test_the_config_of_a_run_is_a_study_of_one_row():
  folder, record = pathlib.Path('x'), {
      'file': 'pcm:tiny', 'adapt.num_events': '2', 'seed': '7'}
  config = pcm.get_config('tiny')
  config.seed = 7
  plan = plan_lib.make(config, folder, record)
  assert [run.name for run in plan.runs] == ['pcm_tiny/seed=7']
  plan = plan_lib.make(config, folder, record, (3, 4))
  assert [run.config.seed for run in plan.runs] == [3, 4]
  assert plan.runs[0].config.adapt.num_events == 2
  assert plan.runs[0].folder == folder / 'runs/pcm_tiny/seed=3'
  assert plan.times_s[0] == config.evaluation.t_test_s
  assert set(plan.times_s) == {*config.evaluation.after_s,
                               config.evaluation.t_test_s}


def test_seeds_of_the_command_line_replace_those_of_a_study():
  plan = plan_lib.make(_config(TRAINED), pathlib.Path('x'), seeds=(5,))
  assert [run.name for run in plan.runs] == ['a/seed=5']
  assert plan_lib.seeds_of(['0', '12']) == (0, 12)
  assert plan_lib.seeds_of(None) is None
  with pytest.raises(errors.InputError, match='--seeds=0,x'):
    plan_lib.seeds_of(['0', 'x'])


@pytest.mark.parametrize('rows, words', [
    ([TRAINED | {'overrides': {'adapt.num_event': 3}}],
     ('row .a.', 'num_event', 'num_events')),
    ([TRAINED | {'overrides': {'adapt.num_events': 0}}],
     ('row .a.', 'adapt.num_events = 0')),
    ([TRAINED | {'config': 'configs/pmc.py'}], ('row .a.', 'configs/pmc.py')),
    ([TRAINED | {'config': 'configs/pcm.py:tyni'}], ('tyni', 'tiny')),
    ([TRAINED, EVALUATED | {'source': 'aa'}], ("'aa'", 'did you mean .a.')),
    ([TRAINED, TRAINED], ('two rows', 'a')),
    ([TRAINED | {'name': '../a'}], ('../a',)),
    ([TRAINED | {'overides': {}}], ('overides', 'overrides')),
    ([TRAINED, EVALUATED | {'params': 'final'}], ('final', 'initial')),
    ([EVALUATED | {'source': ''}], ('row .b.', 'config')),
    ([], ('rows',)),
])
def test_a_study_that_cannot_be_is_refused_in_one_line(rows, words):
  with pytest.raises(errors.InputError) as error:
    plan_lib.make(_config(*rows), pathlib.Path('x'))
  text = str(error.value)
  assert '\n' not in text and 'Traceback' not in text
  for word in words:
    assert re.search(word, text), text


@pytest.mark.parametrize('seeds', ((), (0, 0), (True,), (0.5,)))
def test_seeds_that_cannot_be_are_refused(seeds):
  with pytest.raises(errors.InputError, match='^seeds = '):
    plan_lib.make(_config(TRAINED, seeds=seeds), pathlib.Path('x'))


def test_another_config_is_no_study():
  config = ml_collections.ConfigDict({'device': 'pcm'})
  with pytest.raises(errors.InputError, match='configs/studies/sinusoid.py'):
    plan_lib.make(config, pathlib.Path('x'), {'file': 'pcm'})


def test_a_row_trains_a_config_file_of_ones_own(tmp_path):
  own = tmp_path / 'own.py'
  own.write_text('from configs import pcm\n'
                 'get_config = lambda argument="": pcm.get_config(argument)\n')
  row = TRAINED | {'config': f'{own}:tiny'}
  plan = plan_lib.make(_config(row), tmp_path / 'study')
  assert plan.runs[0].config.variant == 'tiny'
  assert f'--config={own}:tiny' in plan.runs[0].flags
