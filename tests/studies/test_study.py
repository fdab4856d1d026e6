"""Tests of grids: what they declare, and the whole, its runs not run."""

import json
import pathlib
import re
import types

import jax
import numpy as np
import pytest
from scipy import stats

from configs import nmnist
from configs import omniglot
from configs import pcm
from configs.studies import ablations as measures
from configs.studies import few_shot
from configs.studies import sinusoid as rules
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
from meta_analog.studies import rows
from meta_analog.studies import study
from meta_analog.training import params_file
from tests.helpers import small_data

TRAINED = {'name': 'a', 'label': 'the label', 'config': 'configs/pcm.py:tiny',
           'wanted': {'251': 0.2}}
TESTED = {'name': 'b', 'of': 'a',
          'overrides': {'crossbar.fresh_read_share': 0.0}}


def _config(*cases, seeds=(0, 1)):
  config = rules.get_config('pcm')
  with config.unlocked():
    config.cases, config.seeds = cases, seeds
  return config


def _result(mean, half=0.01):
  return {'mean': mean, 'ci95': half}


def _summary(job, mean):
  """Returns as much of a summary as a table takes."""
  return {
      'task': 'sinusoid', 'metric': 'mse', 'device': 'pcm', 'num_tasks': 1000,
      'num_chips': 100, 'support_size': 20, 'before': _result(4.0),
      'after': _result(mean), 'baselines': {'float_ridge': _result(0.02)},
      'after_by_time_s': {'251': _result(mean),
                          '86400': _result(2 * mean)}, 'write': {
                              'pulses_per_task': 90.0 + job.seed,
                              'devices_written_per_task': 60.0,
                              'devices_total': 14088
                          }, 'firing_rate_hz': [90.0, 210.0],
      'training': {'steps': 6, 'commit': 'c0ffee' * 7} |
                  ({} if job.case.of else {'wall_s': 120.0})
  }


@pytest.mark.parametrize('module', (rules, measures))
def test_the_readme_has_every_row(module):
  readme = (plan_lib.ROOT / 'README.md').read_text()
  results = readme.split('## Results')[1]
  cells = {cell.strip() for cell in results.split('|')}
  assert not [row['label'] for row in module.ROWS if row['label'] not in cells]


def test_the_readme_has_every_row_of_few_shot():
  readme = (plan_lib.ROOT / 'README.md').read_text()
  section = readme.split('## Images and events')[1].split('\n## ')[0]
  cells = {cell.strip() for cell in section.split('|')}
  missing = section.partition('Missing:')[2]
  assert not [row['name'] for row in few_shot.ROWS
              if row['label'] not in cells and row['name'] not in missing]


@pytest.mark.parametrize('argument', ('', 'tiny'))
def test_every_row_of_few_shot_can_be(argument, tmp_path, monkeypatch):
  monkeypatch.setenv('META_ANALOG_DATA', small_data.real('omniglot'))
  small_data.real('nmnist')
  plan = plan_lib.make(few_shot.get_config(argument), tmp_path)
  assert len(plan.jobs) == len(few_shot.ROWS)
  assert {job.config.device for job in plan.jobs} == {'ideal', 'pcm'}


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
@pytest.mark.parametrize('module', (rules, measures))
def test_every_row_of_the_rules_can_be(module, argument):
  plan = plan_lib.make(module.get_config(argument), pathlib.Path('x'))
  assert len(plan.jobs) == len(module.ROWS) * len(plan.seeds)
  for job in plan.jobs:
    assert job.config.seed == job.seed
    num_steps = job.config.training.num_steps
    small = num_steps == rows.TINY['training.num_steps']
    assert small == (argument == 'tiny')
    # Drift is followed through the same dates in every row.
    assert job.config.evaluation.after_s == pcm.get_config().evaluation.after_s


def test_a_row_brings_the_row_that_it_is_of():
  names = [case['name'] for case in rules.get_config('untrained').cases]
  assert names == ['pcm', 'untrained']


def test_a_job_has_the_changes_of_its_case_and_of_what_it_is_of():
  plan = plan_lib.make(_config(TRAINED | {'overrides': {
      'adapt.num_events': 3, 'network.hidden_sizes': (4, 6)}}, TESTED),
      pathlib.Path('x'))
  assert [job.name for job in plan.jobs] == [
      'a/seed=0', 'b/seed=0', 'a/seed=1', 'b/seed=1']
  trained, tested = plan.jobs[2:]
  assert tested.needs == trained.name and trained.needs is None
  for job in (trained, tested):
    assert job.config.adapt.num_events == 3
    assert job.config.network.hidden_sizes == (4, 6)
  assert trained.config.crossbar.fresh_read_share == 0.65
  assert tested.config.crossbar.fresh_read_share == 0.0


@pytest.mark.parametrize('cases, words', [
    ([TRAINED | {'overrides': {'adapt.num_event': 3}}],
     ('case .a.', 'num_event', 'num_events')),
    ([TRAINED | {'overrides': {'adapt.num_events': 0}}],
     ('case .a.', 'adapt.num_events = 0')),
    ([TRAINED | {'config': 'configs/pmc.py'}], ('case .a.', 'configs/pmc.py')),
    ([TRAINED | {'config': 'configs/pcm.py:tyni'}], ('tyni', 'tiny')),
    ([TRAINED, TESTED | {'of': 'aa'}], ("'aa'", 'did you mean .a.')),
    ([TRAINED, TRAINED], ('two cases', 'a')),
    ([TRAINED | {'name': '../a'}], ('../a',)),
    ([TRAINED | {'overides': {}}], ('overides', 'overrides')),
    ([TRAINED, TESTED | {'params': 'final'}], ('final', 'initial')),
    ([TESTED | {'of': ''}], ('case .b.', 'config')),
    ([], ('cases',)),
])
def test_a_grid_that_cannot_be_is_refused_in_one_line(cases, words):
  with pytest.raises(errors.InputError) as error:
    plan_lib.make(_config(*cases), pathlib.Path('x'))
  text = str(error.value)
  assert '\n' not in text and 'Traceback' not in text
  for word in words:
    assert re.search(word, text), text


@pytest.mark.parametrize('seeds', ((), (0, 0), (True,), (0.5,)))
def test_seeds_that_cannot_be_are_refused(seeds):
  with pytest.raises(errors.InputError, match='config.seeds'):
    plan_lib.make(_config(TRAINED, seeds=seeds), pathlib.Path('x'))


def test_a_config_of_a_run_is_no_grid():
  with pytest.raises(errors.InputError, match='configs/studies/sinusoid.py'):
    plan_lib.make(pcm.get_config(), pathlib.Path('x'))


class _Fake:
  """Stands for the processes of a grid."""

  def __init__(self, monkeypatch):
    self.begun, self.codes, self.scores = [], {}, {}
    self.during = lambda job: None
    monkeypatch.setattr(jobs, 'start', self.start)
    # A third of a second each time, and tested by itself.
    monkeypatch.setattr(figure, 'draw', lambda path, _: path.touch())

  def start(self, job, folder, cores, cache_dir):
    del cores, cache_dir
    self.begun.append(job.name)
    self.during(job)
    code = self.codes.get(job.name, 0)
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / jobs.LOG).write_text('all was well\nerror: a cat\n')
    if code == 0:
      summary = _summary(job, self.scores.get(job.name, 0.1))
      if job.case.of:
        summary['of'] = evaluate.origin(jobs.source(job, folder))
      atomic_files.write_json(job.folder / 'config.json',
                              workdir.as_json(job.config))
      atomic_files.write_json(job.folder / 'summary.json', summary)
      run_record.finish(job.folder, 'summary.json')
    return types.SimpleNamespace(poll=lambda: code)


@pytest.fixture
def fake(monkeypatch):
  return _Fake(monkeypatch)


def test_a_grid_runs_what_is_not_finished_and_no_more(fake, tmp_path, capsys):
  config = _config(TRAINED, TESTED)
  table = study.run(config, str(tmp_path), 2)
  assert sorted(fake.begun) == ['a/seed=0', 'a/seed=1', 'b/seed=0', 'b/seed=1']
  assert json.loads((tmp_path / 'table.json').read_text()) == table
  fake.begun.clear()
  (tmp_path / 'tests/b/seed=1/summary.json').unlink()
  assert study.run(config, str(tmp_path)) == table
  assert fake.begun == ['b/seed=1']
  assert '3 of 4 jobs are finished' in capsys.readouterr().out


def test_another_override_tests_again_but_never_trains_over_a_run(
    fake, tmp_path, capsys):
  study.run(_config(TRAINED, TESTED), str(tmp_path))
  fake.begun.clear()
  capsys.readouterr()
  study.run(_config(TRAINED, TESTED | {'overrides': {
      'crossbar.fresh_read_share': 1.0}}), str(tmp_path))
  assert fake.begun == ['b/seed=0', 'b/seed=1']
  assert 'crossbar.fresh_read_share' in capsys.readouterr().out
  fake.begun.clear()
  changed = _config(TRAINED | {'overrides': {'adapt.num_events': 2}}, TESTED)
  with pytest.raises(errors.RunError, match='adapt.num_events.*remove it'):
    study.run(changed, str(tmp_path))
  assert fake.begun == []
  table = atomic_files.read_json(tmp_path / 'table.json')
  assert [len(case['missing']) for case in table['cases']] == [2, 2]


def test_a_finished_run_of_before_a_field_that_changes_nothing_stays(
    fake, tmp_path):
  config = _config(TRAINED, seeds=(0,))
  study.run(config, str(tmp_path))
  fake.begun.clear()
  path = tmp_path / 'runs/a/seed=0/config.json'
  older = atomic_files.read_json(path)
  assert older['evaluation'].pop('adapt_anew') == 'never'
  atomic_files.write_json(path, older)
  study.run(config, str(tmp_path))
  assert fake.begun == []
  older['seed'] = 7
  atomic_files.write_json(path, older)
  with pytest.raises(errors.RunError, match='another seed'):
    study.run(config, str(tmp_path))


def test_a_run_that_was_trained_anew_is_tested_anew(fake, tmp_path):
  config, run = _config(TRAINED, TESTED, seeds=(0,)), tmp_path / 'runs/a/seed=0'
  study.run(config, str(tmp_path))
  fake.begun.clear()
  summary = atomic_files.read_json(run / 'summary.json')
  summary['training']['wall_s'] += 1.0
  atomic_files.write_json(run / 'summary.json', summary)
  run_record.finish(run, 'summary.json')
  study.run(config, str(tmp_path))
  assert fake.begun == ['b/seed=0']


def test_a_job_that_fails_is_named_with_its_log_and_the_rest_is_in_the_table(
    fake, tmp_path, capsys):
  fake.codes['a/seed=1'] = 3
  with pytest.raises(errors.RunError, match='a/seed=1.*log.txt') as error:
    study.run(_config(TRAINED, TESTED), str(tmp_path))
  assert error.value.exit_code == 1 and '\n' not in str(error.value)
  assert 'exit code 3: error: a cat' in capsys.readouterr().out
  text = (tmp_path / 'table.md').read_text()
  assert '- a, seed 1: not finished' in text and '0 (1 missing)' in text
  assert 'the label' in text


def test_the_table_is_there_after_every_job(fake, tmp_path):
  seen = []
  fake.during = lambda job: seen.append((tmp_path / 'table.md').is_file())
  study.run(_config(TRAINED), str(tmp_path))
  assert seen == [False, True]


def test_one_launcher_at_a_time(fake, tmp_path):
  with workdir.locked(tmp_path):
    with pytest.raises(errors.InputError, match='in use'):
      study.run(_config(TRAINED), str(tmp_path))


def test_a_figure_is_made_of_table_json_alone(monkeypatch, tmp_path):
  draw = figure.draw
  _Fake(monkeypatch)
  study.run(_config(TRAINED, TESTED, seeds=(0,)), str(tmp_path))
  draw(tmp_path / 'figure', json.loads((tmp_path / 'table.json').read_text()))
  assert (tmp_path / 'figure').read_bytes()[:4] == b'\x89PNG'
  draw(tmp_path / 'empty', {'cases': [], 'times_s': [251.0]})
  assert (tmp_path / 'empty').is_file()


def test_the_text_is_made_of_table_json_alone(fake, tmp_path):
  fake.scores = {'a/seed=0': 0.1, 'a/seed=1': 0.2}
  study.run(_config(TRAINED, TESTED), str(tmp_path))
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
