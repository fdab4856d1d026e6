"""A study as a whole, its runs not run."""

import json

import pytest
from scipy import stats

from meta_analog.core import errors
from meta_analog.experiment import evaluate
from meta_analog.experiment import run_record
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files
from meta_analog.studies import figure
from meta_analog.studies import jobs
from meta_analog.studies import markdown
from meta_analog.studies import plan as plan_lib
from meta_analog.studies import study
from tests.helpers import small_studies

TRAINED = small_studies.TRAINED
EVALUATED = small_studies.EVALUATED
_config = small_studies.config


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
    run_record.finish(run.folder, 'summary.json', summary)


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
  assert atomic_files.read_json(tmp_path / 'table.json') == table
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
  run_record.finish(run, 'summary.json', summary)
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


def test_a_figure_that_fails_costs_no_table(
    fake, tmp_path, monkeypatch, capsys):
  def fail(path, table):
    path.write_text('half')
    raise ZeroDivisionError('no rows')

  monkeypatch.setattr(figure, 'draw', fail)
  table = _run(_config(TRAINED), tmp_path)
  assert atomic_files.read_json(tmp_path / 'table.json') == table
  assert (tmp_path / 'table.md').read_text() == markdown.document(table)
  assert 'table.png cannot be drawn: no rows.' in capsys.readouterr().out
  assert not list(tmp_path.glob('table.png*'))


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
