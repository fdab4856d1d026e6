"""Omniglot: classes as split, tasks as drawn."""

import jax
import numpy as np
import pytest

from configs import omniglot as config_file
from meta_analog.config import build_task
from meta_analog.config import validation
from meta_analog.core import errors
from meta_analog.core import types
from meta_analog.tasks import few_shot
from meta_analog.tasks import omniglot
from meta_analog.tasks import omniglot_files
from tests.helpers import small_data

WAY, SHOT, QUERY = 3, 2, 4


@pytest.fixture(scope='module')
def arrays(omniglot_arrays):
  return omniglot_arrays


@pytest.fixture(scope='module')
def task(arrays):
  return omniglot.make(arrays, way=WAY, shot=SHOT, query_shot=QUERY)


def test_small_images_are_the_mean_ink_of_their_area(arrays):
  ink = small_data.drawing(4, 7)  # an 8 x 8 image would cut no block
  small = np.zeros((28, 28))
  reach = lambda i: range(int(3.75 * i), min(105, int(3.75 * (i + 1)) + 1))
  for i in range(28):
    for j in range(28):
      for y in reach(i):
        for x in reach(j):
          cover = [max(0.0, min(3.75 * (a + 1), b + 1) - max(3.75 * a, b))
                   for a, b in ((i, y), (j, x))]
          small[i, j] += ink[y, x] * cover[0] * cover[1] / 3.75**2
  np.testing.assert_allclose(arrays['images'][4, 7], 255 * small, atol=0.51)


def test_ink_is_moved_to_the_middle_and_nowhere_else():
  random = np.random.RandomState(0)
  images = np.zeros((2, 30, 28, 28), np.uint8)
  for image in images.reshape(-1, 28, 28):
    top, left = random.randint(0, 20, 2)
    image[top:top + 8, left:left + 5] = random.randint(0, 256, (8, 5))
  got = omniglot_files.centred(images)
  pixel = np.arange(28)
  for image, moved in zip(images.reshape(-1, 28, 28), got.reshape(-1, 28, 28)):
    shift = []
    for axis in (0, 1):
      mean = np.average(pixel, weights=image.sum(axis=1 - axis))
      assert abs(np.average(pixel, weights=moved.sum(axis=1 - axis)) - 13.5
                 ) <= 0.5 + 1e-6
      shift.append(round(13.5 - mean))
    np.testing.assert_array_equal(moved, np.roll(image, shift, axis=(0, 1)))
  # What leaves the image is lost, and does not come back on the other side.
  wide = np.zeros((28, 28), np.uint8)
  wide[0, 0], wide[27, 27] = 1, 9
  moved = omniglot_files.centred(wide)
  assert moved.sum() == 9 and moved[16, 16] == 9
  assert not omniglot_files.centred(np.zeros((28, 28), np.uint8)).any()


@pytest.mark.parametrize('centred', [True, False])
def test_a_config_says_whether_drawings_are_centred(
    centred, tmp_path, monkeypatch):
  small_data.use_omniglot(tmp_path, monkeypatch)
  config = config_file.get_config()
  assert config.task.centred
  config.task.way, config.task.data_dir = 3, str(tmp_path)
  config.task.centred = centred
  data = build_task.make_task(config).data
  images = small_data.load_omniglot(tmp_path)['images']
  expected = omniglot_files.centred(images) if centred else images
  np.testing.assert_array_equal(data, expected.reshape(data.shape))
  assert (expected != images).any() == centred


def test_no_character_is_in_two_splits_and_turns_are_classes(arrays):
  owned = [set(arrays[split][:, 0].tolist()) for split in few_shot.SPLITS]
  assert sum(map(len, owned)) == len(set.union(*owned)) == 5
  assert [len(arrays[split]) for split in few_shot.SPLITS] == [8, 4, 8]
  assert {tuple(row) for row in arrays['validation']} == {
      (list(arrays['names']).index('Old/character03'), i) for i in range(4)}


@pytest.mark.parametrize('split', few_shot.SPLITS)
def test_a_task_has_its_classes_and_no_drawing_twice(arrays, task, split):
  sample = jax.jit(task.sample, static_argnums=2)
  allowed = {tuple(row) for row in arrays[split].tolist()}
  for seed in range(20):
    drawn = sample(jax.random.key(seed), task.data, split).latent
    classes = set(zip(drawn.character.tolist(), drawn.turns.tolist()))
    assert len(classes) == WAY and classes <= allowed
    for row in drawn.drawing.tolist():
      assert len(set(row)) == SHOT + QUERY and max(row) < 20


def test_samples_are_the_drawings_turned(arrays, task):
  episode = jax.jit(task.sample)(jax.random.key(3), task.data)
  character, turns, drawing = map(np.asarray, episode.latent)
  assert len(set(turns.tolist())) > 1
  for which, samples, start, number in (
      ('support', episode.support, 0, SHOT),
      ('query', episode.query, SHOT, QUERY)):
    for w in range(WAY):
      for s in range(number):
        image = arrays['images'][character[w], drawing[w, start + s]]
        np.testing.assert_allclose(
            samples.x[w * number + s].reshape(28, 28),
            np.rot90(image, turns[w]) / 255, rtol=1e-6, err_msg=which)
        assert np.argmax(samples.y[w * number + s]) == w
    assert samples.y.sum() == WAY * number


def test_a_task_is_recalled_from_its_latent(task):
  episode = jax.jit(task.sample)(jax.random.key(0), task.data)
  again = jax.jit(task.recall)(episode.latent, task.data)
  jax.tree.map(np.testing.assert_array_equal, episode, again)


def test_nearest_mean_finds_classes_that_are_far_apart():
  x = np.repeat(np.eye(3, 6, dtype=np.float32), 2, axis=0)[None]
  samples = types.Samples(x, np.asarray(few_shot.targets(3, 2))[None])
  moved = samples._replace(x=np.roll(x, 2, axis=1))
  for query, expected in ((samples, 1.0), (moved, 0.0)):
    rows = few_shot.baselines(types.Episode(samples, query, None))
    assert rows['nearest_mean'].tolist() == [expected]
    np.testing.assert_allclose(rows['chance'], [1 / 3], rtol=1e-6)


@pytest.mark.parametrize('change, message', [
    ({'data_dir': '/no/such/folder'}, 'config.task.data_dir = /no/such/folder'),
    ({'way': 9}, 'config.task.way = 9: must be at most 4, the classes of the '
     'validation split'),
    ({'way': 1}, 'config.task.way = 1: must be at least 2'),
    ({'shot': 16}, 'config.task.shot = 16, query_shot = 5: together must be at '
     'most 20'),
    ({'support_size': 7}, 'config.task.support_size = 7: must be way times'),
])
def test_what_the_splits_cannot_hold_is_refused(
    change, message, tmp_path, monkeypatch):
  small_data.use_omniglot(tmp_path, monkeypatch)
  config = config_file.get_config()
  config.task.way, config.task.data_dir = 3, str(tmp_path)
  for name, value in change.items():
    config.task[name] = value
  with pytest.raises(errors.InputError, match=message):
    validation.check(config)


def test_sizes_follow_from_way_and_shot():
  config = config_file.get_config('20way5shot')
  assert (config.task.support_size, config.task.query_size) == (100, 40)
  config.task.way = 3
  assert (config.task.support_size, config.task.query_size) == (15, 6)
