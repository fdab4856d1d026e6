"""Studies over axes: rows, flags, refusals, figure."""

import json
import pathlib
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from configs import pcm
from configs.studies import sinusoid
from meta_analog.core import errors
from meta_analog.reporting import style
from meta_analog.studies import axes
from meta_analog.studies import axis_figure
from meta_analog.studies import jobs
from meta_analog.studies import plan as plan_lib
from tests.helpers import runs

TWO = ('periphery.adc_bits=4,6,8', 'evaluation.noise_scale=0.5,2')
NET = ('--config=configs/perf.py:tiny', '--config.training.num_steps=2',
       '--config.evaluation.num_tasks=4', '--config.evaluation.num_chips=2',
       '--config.evaluation.after_s=(251.0,)',
       '--config.evaluation.ordinary_steps=2')
RECORD = {'file': 'configs/pcm.py:tiny', 'training.num_steps': '3'}


def plan(words=TWO, source='', **options):
  return plan_lib.make(
      pcm.get_config('tiny'), pathlib.Path('x'), RECORD, (0, 1),
      axes.parse(words), source, **options)


@pytest.mark.parametrize('word, values', [
    ('periphery.adc_bits=4,6', ('4', '6')),
    ('network.hidden_sizes=(40,40),(8,),[4, 3]', ('(40,40)', '(8,)', '[4, 3]')),
    ('network.convolutions=((16,7,4),(32,5,2)),((8,5,2),)',
     ('((16,7,4),(32,5,2))', '((8,5,2),)')),
    ('device=pcm,hermes', ('pcm', 'hermes')), ('periphery.adc_bits', None),
    ('periphery.adc_bits=', None), ('periphery.adc_bits=4,,6', None),
    ('seed=1,2', None), ('periphery.adc_bits=4,4', None)])
def test_an_axis_is_a_field_and_values_that_differ(word, values):
  if values is not None:
    assert axes.parse([word]) == ((word.partition('=')[0], values),)
    return
  with pytest.raises(errors.InputError, match='^--axis=[^\n]*$'):
    axes.parse([word])


def test_a_field_has_one_axis():
  with pytest.raises(errors.InputError, match='has an axis already'):
    axes.parse(['periphery.adc_bits=4,6', 'periphery.adc_bits=3,5'])


def test_a_trained_row_is_evaluated_at_every_combination():
  found = plan()
  first, *others = found.runs[:7]
  assert len(found.runs) == 2 * 7 and found.axes == axes.parse(TWO)
  assert first.name == 'pcm_tiny/seed=0' and not first.row.axis
  assert [(run.config.periphery.adc_bits, run.config.evaluation.noise_scale)
          for run in others] == [
              (bits, scale) for bits in (4, 6, 8) for scale in (0.5, 2.0)]
  for run in others:
    assert run.row.is_evaluated and run.needs == first.name
    assert run.config.training.num_steps == 3
    assert jobs.source_of(run, pathlib.Path('x')) == str(first.folder)
  assert others[0].name == 'adc_bits=4+noise_scale=0.5/seed=0'


def test_every_value_is_trained_anew():
  found = plan(('network.hidden_sizes=(4,),(6,5)', 'training.num_steps=3,5'),
               train_anew=True)
  assert len(found.runs) == 2 * 4
  assert [(run.config.network.hidden_sizes, run.config.training.num_steps)
          for run in found.runs[:4]] == [
              (sizes, steps) for sizes in ((4,), (6, 5)) for steps in (3, 5)]
  assert not any(run.row.is_evaluated or run.needs for run in found.runs)
  assert len({run.folder for run in found.runs}) == 8


def test_a_source_is_evaluated_and_nothing_trained():
  source = 'configs/pretrained/pcm.npz'
  found = plan(TWO[:1], source)
  assert len(found.runs) == 2 * 3
  for run in found.runs:
    assert run.needs is None and run.folder.parts[1] == 'tests'
    assert jobs.source_of(run, pathlib.Path('x')) == source
    job, = jobs.make([run], pathlib.Path('x'), None, vmap=True)
    assert f'--source={source}' in job.arguments and 'evaluate' in job.arguments


@pytest.mark.parametrize('words, source, options, message', [
    (['training.num_steps=3,5'], '', {}, 'add --train_anew'),
    (['network.hidden_sizes=(4,),(5,)'], '', {}, 'add --train_anew'),
    (TWO, 'nowhere', {}, "^row '.*': --source=nowhere holds no run"),
    (TWO, 'x.npz', {'train_anew': True}, 'leave one out'),
    ([], 'x.npz', {}, 'needs an --axis'),
    ([], '', {'train_anew': True}, 'needs an --axis'),
    (['periphery.adc_bit=3,4'], '', {}, 'did you mean periphery.adc_bits'),
    (['periphery.adc_bits=3,0'], '', {}, 'adc_bits = 0'),
])
def test_axes_that_cannot_be_are_refused(words, source, options, message):
  with pytest.raises(errors.InputError, match=message) as error:
    plan(words, source, **options)
  assert '\n' not in str(error.value)


def test_a_study_of_declared_rows_has_no_axes():
  with pytest.raises(errors.InputError, match='the config of a run'):
    plan_lib.make(sinusoid.get_config('pcm'), pathlib.Path('x'),
                  {'file': 'configs/studies/sinusoid.py'}, None,
                  axes.parse(TWO))


def _table(metric='mse', fields=('periphery.adc_bits', 'adapt.write')):
  """Returns what is drawn of a table; errors are x, x + 1 and 10 x."""
  values = {'periphery.adc_bits': ['10', '2', '4'],
            'adapt.write': ['open_loop', 'verified']}
  cases = [{'axis': {}, 'all': {'before': {'mean': 9.0}}, 'seeds': []}]
  for bits in values['periphery.adc_bits']:
    for i, write in enumerate(values['adapt.write'][:len(fields)]):
      result = lambda x: {'mean': x, 'ci95': 0.1 * x}
      cases.append({
          'axis': dict(zip(fields, (bits, write))),
          'seeds': [{'metric': metric}], 'all': {
              'before': result(10 * float(bits)), 'after_by_time_s': {
                  '251': result(float(bits) + i), '86400': result(10.0)}}})
  return {'times_s': [251.0, 3600.0, 86400.0], 'cases': cases,
          'axes': {field: values[field] for field in fields}}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
  """Returns a function from a table to the axes of its figure."""
  monkeypatch.setattr(style.plt, 'close', lambda figure: None)
  yield lambda table: (
      axis_figure.draw(tmp_path / 'axis.png', table), plt.gcf().axes)[1]
  monkeypatch.undo()
  plt.close('all')


def test_the_figure_shows_the_error_of_every_value_in_order(drawn):
  first, last = drawn(_table())
  for i, line in enumerate(
      container.lines[0] for container in first.containers):
    np.testing.assert_array_equal(line.get_xdata(), [2.0, 4.0, 10.0])
    np.testing.assert_array_equal(line.get_ydata(), [2.0 + i, 4.0 + i, 10 + i])
  assert [container.get_label() for container in first.containers] == [
      'adapt.write = open_loop', 'adapt.write = verified']
  assert last.get_title() == '1 day after programming'
  assert first.get_xlabel() == 'periphery.adc_bits'
  assert first.get_xscale() == 'linear' and first.get_yscale() == 'log'
  assert first.get_ylim()[0] > 0.5


def test_words_stand_in_their_order_and_accuracies_on_a_line(drawn):
  axis, _ = drawn(_table('accuracy', ('periphery.adc_bits',)))
  assert axis.get_yscale() == 'linear'
  assert [line.get_label() for line in axis.lines
          if line.get_label()[0] != '_'] == ['before adaptation']
  assert axis_figure.positions(['open_loop', 'verified']) == {
      'open_loop': 0.0, 'verified': 1.0}


@pytest.mark.slow
def test_a_source_along_an_axis_leaves_a_curve(tmp_path):
  def launch(name, *more):
    found = subprocess.run(
        [sys.executable, str(runs.ROOT / f'launch/{name}.py'), *NET, *more],
        capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, '')
    return found.stdout

  launch('main', f'--workdir={tmp_path / "run"}')
  assert 'axis.png' in launch(
      'study', '--axis=periphery.adc_bits=2,8',
      f'--source={tmp_path / "run"}', f'--workdir={tmp_path / "study"}')
  table = json.loads((tmp_path / 'study/table.json').read_text())
  assert table['axes'] == {'periphery.adc_bits': ['2', '8']}
  means = [row['all']['after_by_time_s']['251']['mean']
           for row in table['cases']]
  run = json.loads((tmp_path / 'run/summary.json').read_text())
  assert means[1] == run['after']['mean'] != means[0]
  assert not (tmp_path / 'study/runs').exists()
  assert 'with `' in (tmp_path / 'study/table.md').read_text()
