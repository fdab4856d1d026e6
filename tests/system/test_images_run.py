"""A whole run on images: pretrained, meta-trained, tested, drawn, shipped."""

import json

import numpy as np
import pytest

from configs import omniglot
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.experiment import run
from meta_analog.training import params_file
from tests.helpers import small_data

pytestmark = pytest.mark.slow
WAY = 3


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Returns a config and the folder of its finished run."""
  folder = tmp_path_factory.mktemp('images')
  with pytest.MonkeyPatch.context() as patch:
    small_data.use_omniglot(folder, patch)
    config = _config(folder)
    run.run(config, str(folder / 'run'))
    yield config, folder / 'run'


def _config(folder):
  config = omniglot.get_config('tiny')
  config.task.way = WAY
  config.task.data_dir = str(folder)
  config.training.pretrain_way = WAY
  config.training.pretrain_steps = 40
  return config


def test_a_run_on_images_leaves_all_its_files(finished):
  _, folder = finished
  there = {str(path.relative_to(folder)) for path in folder.rglob('*.*')}
  assert there >= {
      'summary.json', 'evaluation.npz', 'chip.npz', 'parameters.npz',
      'pretrained.npz', 'metrics.jsonl', 'figures/adaptation.png',
      'figures/loss_over_time.png'}
  summary = json.loads((folder / 'summary.json').read_text())
  assert summary['metric'] == 'accuracy'
  assert 0.0 <= summary['after']['mean'] <= 1.0
  assert summary['baselines']['chance']['mean'] == pytest.approx(1 / WAY)


def test_the_accuracies_can_be_computed_again(finished):
  _, folder = finished
  summary = json.loads((folder / 'summary.json').read_text())
  with np.load(folder / 'evaluation.npz') as data:
    truth = np.argmax(data['query_y'], axis=-1)
    by_time = data['query_after_by_time']
    for i, time_s in enumerate(data['after_s']):
      predicted = np.argmax(by_time[:, i], axis=-1)
      assert np.mean(predicted == truth) == pytest.approx(
          summary['after_by_time_s'][f'{time_s:.12g}']['mean'], abs=1e-6)
    assert {'latent_character', 'latent_drawing', 'latent_turns'} <= {
        *data.files}


def test_a_file_of_meta_parameters_repeats_the_result(finished, tmp_path):
  config, folder = finished
  again = run.run(config, str(tmp_path / 'again'), 'evaluate',
                  source=str(folder / params_file.FILE))
  summary = json.loads((folder / 'summary.json').read_text())
  assert again['after'] == summary['after']
  assert again['before'] == summary['before']


def test_the_classes_of_a_pretraining_must_be_there(finished):
  config = finished[0].copy_and_resolve_references()
  config.training.pretrain_way = 5
  with pytest.raises(errors.InputError,
                     match='config.training.pretrain_way = 5') as error:
    validation.check(config)
  assert '\n' not in str(error.value)
