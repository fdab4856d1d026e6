"""The figure of tested tasks shows inputs and predicted classes."""

import types

import jax
import numpy as np
import pytest

from meta_analog.evaluation import meta_test_results
from meta_analog.experiment import figure_data
from meta_analog.reporting import few_shot_figures
from meta_analog.reporting import style
from meta_analog.tasks import omniglot

WAY, SHOT, QUERY, TASKS = 3, 2, 2, 4
RIGHT, WRONG = style.RIGHT, style.WRONG


@pytest.fixture(scope='module')
def tested():
  """Returns a setup, its tasks, and the predictions at two dates."""
  images = np.random.RandomState(0).randint(0, 256, (5, 20, 28, 28), np.uint8)
  classes = np.stack(np.divmod(np.arange(20), 4), axis=1).astype(np.int32)
  task = omniglot.make({'images': images, 'test': classes, 'train': classes,
                        'validation': classes}, way=WAY, shot=SHOT,
                       query_shot=QUERY)
  episodes = jax.jit(jax.vmap(
      lambda key, data: task.sample(key, data, 'test'), (0, None)))(
          jax.random.split(jax.random.key(0), TASKS), task.data)
  truth = np.asarray(episodes.query.y)
  # At the second time all is right but the first sample.
  after = np.stack([truth * 0, truth], axis=1)
  after[:, 1, 0] = np.roll(truth[:, 0], 1, axis=1)
  results = meta_test_results.MetaTestResults(
      episodes=jax.tree.map(np.asarray, episodes),
      query_before=np.roll(truth, 1, axis=2),  # all wrong
      query_after=after, loss_all_steps=None, rate_Hz=None, written=None,
      programmed=None, mean_uS=None)
  setup = types.SimpleNamespace(task=task, after_s=(251.0, 500.0))
  config = types.SimpleNamespace(
      evaluation=types.SimpleNamespace(t_test_s=500.0))
  return config, setup, results, episodes


def test_pictures_are_those_of_the_tested_tasks(tested):
  config, setup, results, episodes = tested
  seen = figure_data.pictures(config, setup, results)
  rows = [0, 1, 3]  # spread over the chips
  for name in ('support', 'query'):
    x = np.asarray(getattr(episodes, name).x)[rows]
    np.testing.assert_allclose(
        seen[name], x.reshape(3, -1, 28, 28), rtol=1e-6)
  expected = np.tile(np.repeat(np.arange(WAY), QUERY), (3, 1))
  np.testing.assert_array_equal(seen['query_class'], expected)
  np.testing.assert_array_equal(seen['before'], (expected + 1) % WAY)
  expected[:, 0] = 1
  np.testing.assert_array_equal(seen['after'], expected)


def test_a_figure_shows_them_green_where_right(tested, tmp_path, monkeypatch):
  seen = figure_data.pictures(*tested[:3])
  shown = []
  draw = few_shot_figures._image

  def record(axis, image, color):
    shown.append((image, color))
    draw(axis, image, color)

  monkeypatch.setattr(few_shot_figures, '_image', record)
  path = tmp_path / 'figures' / 'tasks.png'
  few_shot_figures.tasks(path, **seen)
  columns = WAY + WAY * QUERY
  assert len(shown) == 3 * columns and path.stat().st_size > 5000
  for i in range(3):
    row = shown[i * columns:(i + 1) * columns]
    for label in range(WAY):  # one image of each class
      np.testing.assert_array_equal(
          row[label][0], seen['support'][i, label * SHOT])
    for (image, _), query in zip(row[WAY:], seen['query'][i]):
      np.testing.assert_array_equal(image, query)
    assert [color for _, color in row[WAY:]] == [WRONG] + 5 * [RIGHT]


def test_right_and_wrong_are_drawn_in_proportion():
  right = np.ones((3, 25), bool)
  right[0, [4, 9]] = right[2, 7] = False  # 3 of 75; of 30 drawn 1.2
  assert few_shot_figures._shares(right, 10).tolist() == [1, 0, 0]
  right[1, :5] = False  # 8 of 75; of 30 drawn 3.2
  assert few_shot_figures._shares(right, 10).tolist() == [1, 2, 0]
  assert few_shot_figures._shares(~right, 10).sum() == 27
  assert few_shot_figures._shares(right | True, 10).tolist() == [0, 0, 0]


def test_drawn_queries_are_spread_over_the_classes():
  right = np.ones(75, bool)
  np.testing.assert_array_equal(
      few_shot_figures._choose(right, 4, 0), [0, 24, 49, 74])
  right[[33, 60]] = False
  np.testing.assert_array_equal(
      few_shot_figures._choose(right, 4, 1), [0, 33, 37, 74])
  right[:50] = False
  np.testing.assert_array_equal(
      few_shot_figures._choose(right, 4, 3), [0, 25, 50, 60])
  # As many wrong as there are, where more are asked for; right ones fill up.
  np.testing.assert_array_equal(
      few_shot_figures._choose(~np.ones(75, bool), 3, 0), [0, 37, 74])


def test_many_classes_do_not_widen_the_figure(tmp_path, monkeypatch):
  shown = []
  monkeypatch.setattr(few_shot_figures, '_image',
                      lambda axis, image, color: shown.append(image))
  classes = np.arange(20)[None]
  few_shot_figures.tasks(
      tmp_path / 'tasks.png', np.zeros((1, 20, 2, 2)), classes,
      np.zeros((1, 20, 2, 2)), classes, classes, classes)
  assert len(shown) == few_shot_figures.MOST_CLASSES + (
      few_shot_figures.MOST_QUERIES)
