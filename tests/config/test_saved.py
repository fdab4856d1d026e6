"""Tests of saved configs: what older versions wrote is read or refused."""

import pytest

from configs import pcm
from meta_analog.core import errors
from meta_analog.experiment import saved_config
from meta_analog.experiment import workdir
from meta_analog.runtime import atomic_files

EMPTY = {'seeds': [], 'noise_scales': [], 'learning_rates': [],
         'members_at_once': 0}


def _written(folder, sweep):
  values = workdir.as_json(pcm.get_config('tiny')) | {'sweep': sweep}
  atomic_files.write_json(folder / 'config.json', values)


def test_an_empty_sweep_of_an_older_config_is_dropped(tmp_path):
  _written(tmp_path, EMPTY | {'members_at_once': 2})
  config = saved_config.get_config(str(tmp_path))
  assert config.to_dict() == pcm.get_config('tiny').to_dict()
  assert workdir.check_of_run(config, tmp_path)
  (tmp_path / 'metrics.jsonl').touch()
  workdir.claim(config, tmp_path, pytest.fail)  # no damage is reported


def test_a_sweep_of_an_older_config_is_refused_in_one_line(tmp_path):
  _written(tmp_path, EMPTY | {'seeds': [0, 1]})
  for read in (lambda: saved_config.get_config(str(tmp_path)),
               lambda: workdir.check_of_run(pcm.get_config('tiny'), tmp_path)):
    with pytest.raises(errors.InputError, match='launch/study.py') as error:
      read()
    assert "'seeds': [0, 1]" in str(error.value)
    assert '\n' not in str(error.value)
