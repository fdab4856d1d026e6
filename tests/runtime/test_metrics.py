"""Metrics of a run: lines, TensorBoard and Weights & Biases."""

import resource

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from meta_analog.core import errors
from meta_analog.runtime import metrics


def _board(folder):
  """Returns the scalars (tag, step, value) and the steps made void."""
  scalars, voids = [], []
  for path in folder.iterdir():
    data = path.read_bytes()
    while data:  # length, its checksum, event, its checksum
      size = int.from_bytes(data[:8], 'little')
      event = event_pb2.Event.FromString(data[12:12 + size])
      data = data[16 + size:]
      scalars += [(value.tag, event.step, value.simple_value)
                  for value in event.summary.value]
      voids += [event.step] if event.HasField('session_log') else []
  return scalars, voids


def test_metrics_resume_from_the_lines_of_the_checkpoint(tmp_path):
  log = metrics.Metrics(tmp_path)
  for step in (1, 2, 3):
    log.write(step, {'loss': 0.5, 'rate_Hz': np.ones(2), 'timing': {'s': None}})
    if step == 2:
      lines = log.content()
  log.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "lo')  # killed here
  log = metrics.Metrics(tmp_path, lines, 2)
  log.write(3, {'loss': 0.25})
  log.close()
  lines = metrics.read(tmp_path / 'metrics.jsonl')
  assert [line['step'] for line in lines] == [1, 2, 3]
  assert lines[2]['loss'] == 0.25 and lines[0]['rate_Hz'] == [1.0, 1.0]
  scalars, voids = _board(tmp_path / 'tensorboard')
  assert ('loss', 3, 0.25) in scalars and ('rate_Hz/1', 1, 1.0) in scalars
  assert voids == [3]  # TensorBoard drops what was written of later steps


def test_a_line_that_the_disk_cannot_hold_is_taken_back(tmp_path):
  log = metrics.Metrics(tmp_path)
  log.write(1, {'loss': 0.5})
  before = (tmp_path / 'metrics.jsonl').read_bytes()
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
  try:
    with pytest.raises(OSError):
      log.write(2, {'loss': 0.5})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before


def test_wandb_is_asked_for_by_name_and_gets_the_numbers(
    tmp_path, monkeypatch):
  class Fake:
    logged = []

    def init(self, **options):
      self.options = options
      return self

    def log(self, values, step):
      self.logged.append((step, values))

    def finish(self):
      self.logged.append('finished')

  monkeypatch.setitem(__import__('sys').modules, 'wandb', None)
  with pytest.raises(errors.InputError, match=r'\[wandb\]'):
    metrics.open_wandb('project', tmp_path, {})
  fake = Fake()
  monkeypatch.setitem(__import__('sys').modules, 'wandb', fake)
  run = metrics.open_wandb('project', tmp_path, {'seed': 3})
  assert fake.options['project'] == 'project'
  assert fake.options['config'] == {'seed': 3}
  log = metrics.Metrics(tmp_path, wandb_run=run)
  log.write(1, {'loss': 0.5, 'rate_Hz': [3.0, 4.0]})
  log.close()
  assert fake.logged == [
      (1, {'loss': 0.5, 'rate_Hz/0': 3.0, 'rate_Hz/1': 4.0}), 'finished']
