"""Tests of studies: what they declare, and the whole, its runs not run."""

import json
import pathlib
import re

import jax
import ml_collections
import numpy as np
import pytest
from scipy import stats

from configs import nmnist
from configs import omniglot
from configs import pcm
from configs.studies import ablations
from configs.studies import few_shot
from configs.studies import sinusoid
from meta_analog.config import build
from meta_analog.config import build_task
from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.networks import network
from meta_analog.runtime import atomic_files
from meta_analog.studies import figure
from meta_analog.studies import jobs
from meta_analog.studies import markdown
from meta_analog.studies import plan as plan_lib
from meta_analog.studies import rows as rows_lib
from meta_analog.studies import study
from meta_analog.training import params_file
from tests.helpers import small_data

ROOT = pathlib.Path(__file__).parents[2]
TRAINED = {'name': 'a', 'label': 'the label', 'config': 'configs/pcm.py:tiny',
           'required': {'251': 0.2}}
EVALUATED = {'name': 'b', 'source': 'a',
             'overrides': {'crossbar.fresh_read_share': 0.0}}


def _config(*rows, seeds=(0, 1)):
  config = sinusoid.get_config('pcm')
  with config.unlocked():
    config.rows, config.seeds = rows, seeds
  return config


def _result(mean, half=0.01):
  return {'mean': mean, 'ci95': half}


def _summary(run, mean):
  """Returns as much of a summary as a table takes."""
  return {
      'task': 'sinusoid', 'metric': 'mse', 'device': 'pcm', 'num_tasks': 1000,
      'num_chips': 100, 'support_size': 20, 'before': _result(4.0),
      'after': _result(mean), 'baselines': {'float_ridge': _result(0.02)},
      'after_by_time_s': {'251': _result(mean),
                          '86400': _result(2 * mean)}, 'write': {
                              'pulses_per_task': 90.0 + run.seed,
                              'devices_written_per_task': 60.0,
                              'devices_total': 14088
                          }, 'firing_rate_hz': [90.0, 210.0],
      'training': {'steps': 6, 'commit': 'c0ffee' * 7} |
                  ({} if run.row.source else {'wall_s': 120.0})
  }


@pytest.mark.parametrize('module', (sinusoid, ablations, few_shot))
def test_the_results_have_every_row(module):
  pages = [path.read_text() for path in (ROOT / 'docs/results').glob('*.md')]
  cells = {cell.strip() for text in pages for cell in text.split('|')}
  missing = ' '.join(text.partition('Missing:')[2] for text in pages)
  assert not [row['name'] for row in module.ROWS
              if row['label'] not in cells and row['name'] not in missing]


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
    views = network.exact_readings(
        setup.transforms.theta.apply(params).layers, setup.network)
    weights.append([view.reading.weights for view in views[:-1]])
    # The same weights, on however many devices.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(
        x, y, rtol=1e-4, atol=1e-5, err_msg=name), weights[0], weights[-1])


@pytest.mark.parametrize('argument', ('', 'tiny'))
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


class _Fake:
  """Stands for the processes of a study."""

  def __init__(self, monkeypatch):
    self.begun, self.codes, self.scores = [], {}, {}
    self.during = lambda job: None
    monkeypatch.setattr(jobs, 'execute', self.execute)
    # A third of a second each time, and tested by itself.
    monkeypatch.setattr(figure, 'draw', lambda path, _: path.touch())

  def execute(self, job, cores, stopping):
    del cores, stopping
    self.begun.append(job.name)
    self.during(job)
    code = self.codes.get(job.name, 0)
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / jobs.LOG).write_text('all was well\nerror: a cat\n')
    if code == 0:
      for run in job.runs:
        self._finish(run)
    return jobs.Ended(code, 1.0)

  def _finish(self, run):
    summary = _summary(run, self.scores.get(run.name, 0.1))
    if run.row.source:
      summary['of'] = evaluate.origin(jobs.source_of(
          run, run.folder.parents[2]))
    run.folder.mkdir(parents=True, exist_ok=True)
    atomic_files.write_json(run.folder / 'config.json',
                            workdir.as_json(run.config))
    atomic_files.write_json(run.folder / 'summary.json', summary)
    run_record.finish(run.folder, 'summary.json')


def _run(config, folder, **options):
  """Returns the table of a study, executed."""
  return study.run(plan_lib.make(config, folder), folder,
                   study.Options(**options))


@pytest.fixture
def fake(monkeypatch):
  return _Fake(monkeypatch)


def test_a_study_runs_what_is_not_finished_and_no_more(fake, tmp_path, capsys):
  config = _config(TRAINED, EVALUATED)
  table = _run(config, tmp_path, num_processes=2)
  assert sorted(fake.begun) == ['a/seed=0', 'a/seed=1', 'b/seed=0', 'b/seed=1']
  assert json.loads((tmp_path / 'table.json').read_text()) == table
  fake.begun.clear()
  (tmp_path / 'tests/b/seed=1/summary.json').unlink()
  assert _run(config, tmp_path) == table
  assert fake.begun == ['b/seed=1']
  assert '3 of 4 runs are finished' in capsys.readouterr().out


def test_another_override_evaluates_again_but_never_trains_over_a_run(
    fake, tmp_path, capsys):
  _run(_config(TRAINED, EVALUATED), tmp_path)
  fake.begun.clear()
  capsys.readouterr()
  _run(_config(TRAINED, EVALUATED | {'overrides': {
      'crossbar.fresh_read_share': 1.0}}), tmp_path)
  assert fake.begun == ['b/seed=0', 'b/seed=1']
  assert 'crossbar.fresh_read_share' in capsys.readouterr().out
  fake.begun.clear()
  changed = _config(TRAINED | {'overrides': {'adapt.num_events': 2}}, EVALUATED)
  with pytest.raises(errors.RunError, match='adapt.num_events.*remove it'):
    _run(changed, tmp_path)
  assert fake.begun == []
  table = atomic_files.read_json(tmp_path / 'table.json')
  assert [len(row['missing']) for row in table['cases']] == [2, 2]


def test_a_finished_run_of_before_a_field_that_changes_nothing_stays(
    fake, tmp_path):
  config = _config(TRAINED, seeds=(0,))
  _run(config, tmp_path)
  fake.begun.clear()
  path = tmp_path / 'runs/a/seed=0/config.json'
  older = atomic_files.read_json(path)
  assert older['evaluation'].pop('adapt_anew') == 'never'
  atomic_files.write_json(path, older)
  _run(config, tmp_path)
  assert fake.begun == []
  older['seed'] = 7
  atomic_files.write_json(path, older)
  with pytest.raises(errors.RunError, match='another seed'):
    _run(config, tmp_path)


def test_a_run_that_was_trained_anew_is_evaluated_anew(fake, tmp_path):
  config = _config(TRAINED, EVALUATED, seeds=(0,))
  run = tmp_path / 'runs/a/seed=0'
  _run(config, tmp_path)
  fake.begun.clear()
  summary = atomic_files.read_json(run / 'summary.json')
  summary['training']['wall_s'] += 1.0
  atomic_files.write_json(run / 'summary.json', summary)
  run_record.finish(run, 'summary.json')
  _run(config, tmp_path)
  assert fake.begun == ['b/seed=0']


def test_a_run_that_fails_is_named_with_its_log_and_the_rest_is_in_the_table(
    fake, tmp_path, capsys):
  fake.codes['a/seed=1'] = 3
  with pytest.raises(errors.RunError, match='a/seed=1.*log.txt') as error:
    _run(_config(TRAINED, EVALUATED), tmp_path)
  assert error.value.exit_code == 1 and '\n' not in str(error.value)
  assert 'exit code 3: error: a cat' in capsys.readouterr().out
  text = (tmp_path / 'table.md').read_text()
  assert '- a, seed 1: not finished' in text and '0 (1 missing)' in text
  assert 'the label' in text


def test_the_table_is_there_after_every_run(fake, tmp_path):
  found = []
  fake.during = lambda job: found.append((tmp_path / 'table.md').is_file())
  _run(_config(TRAINED), tmp_path)
  assert found == [False, True]


def test_vmapped_seeds_are_one_job_and_their_tests_wait_for_it(fake, tmp_path):
  table = _run(_config(TRAINED, EVALUATED), tmp_path, vmap=True)
  assert fake.begun == ['a/seeds=0,1', 'b/seed=0', 'b/seed=1']
  assert [len(row['seeds']) for row in table['cases']] == [2, 2]
  (tmp_path / 'runs/a/seed=1/summary.json').unlink()
  fake.begun.clear()
  _run(_config(TRAINED), tmp_path, vmap=True)
  assert fake.begun == ['a/seed=1']


def test_vmapped_seeds_that_began_are_resumed_together(tmp_path):
  plan = plan_lib.make(_config(TRAINED, seeds=(0, 1, 2)), tmp_path)
  begun = tmp_path / 'vmapped/a/seeds=0,1,2'
  begun.mkdir(parents=True)
  make = lambda: jobs.make(plan.runs[1:], tmp_path, None, vmap=True)
  assert [job.name for job in make()] == ['a/seeds=1,2']
  (begun / 'metrics.jsonl').touch()
  job, = make()
  assert job.name == 'a/seeds=0,1,2' and '--seeds=0,1,2' in job.arguments
  assert [run.seed for run in job.runs] == [1, 2]


def test_one_launcher_at_a_time(fake, tmp_path):
  with workdir.locked(tmp_path):
    with pytest.raises(errors.InputError, match='in use'):
      _run(_config(TRAINED), tmp_path)


def test_a_figure_is_made_of_table_json_alone(monkeypatch, tmp_path):
  draw = figure.draw
  _Fake(monkeypatch)
  _run(_config(TRAINED, EVALUATED, seeds=(0,)), tmp_path)
  draw(tmp_path / 'figure', json.loads((tmp_path / 'table.json').read_text()))
  assert (tmp_path / 'figure').read_bytes()[:4] == b'\x89PNG'
  draw(tmp_path / 'empty', {'cases': [], 'times_s': [251.0]})
  assert (tmp_path / 'empty').is_file()


def test_the_text_is_made_of_table_json_alone(fake, tmp_path):
  fake.scores = {'a/seed=0': 0.1, 'a/seed=1': 0.2}
  _run(_config(TRAINED, EVALUATED), tmp_path)
  table = json.loads((tmp_path / 'table.json').read_text())
  text = markdown.document(table)
  assert text == (tmp_path / 'table.md').read_text()
  row = next(line for line in text.splitlines() if 'the label' in line)
  half = stats.t.ppf(0.975, 1) * 0.05  # the standard error of 0.1 and 0.2
  for cell in (f'0.150 ± {half:.3f}', f'0.300 ± {2 * half:.3f}', '0.2, met',
               '0, 1', '4, 4', '8, 8', '`pcm.py:tiny`', '60 of 14088',
               '90, 210 (!)', '2 min', 'c0ffeec0ff', '0.020 ± 0.007'):
    assert f'| {cell} |' in row, (cell, row)
  assert len(row.split(' | ')) == len(text.splitlines()[2].split(' | '))
  for reference in table['references']:
    assert reference['method'] in text
