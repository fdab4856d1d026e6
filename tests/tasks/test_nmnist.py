"""N-MNIST: events as published, pairs as split, tasks as drawn."""

import functools

import jax
import numpy as np
import pytest

from configs import nmnist as config_file
from meta_analog.config import validation as validation_lib
from meta_analog.core import errors
from meta_analog.tasks import data_cache
from meta_analog.tasks import few_shot
from meta_analog.tasks import nmnist
from meta_analog.tasks import nmnist_files
from tests.helpers import small_data

PER_DIGIT = 20
NUM_STEPS, STEP_US, POOL = 6, 50_000.0, 4
WAY, SHOT, QUERY = 4, 2, 2


@pytest.fixture(scope='module')
def arrays(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    return nmnist_files.load(str(small_data.nmnist(folder / 'nmnist')), 500)


@pytest.fixture(scope='module')
def parts(arrays):
  return nmnist.split(arrays['digit'], 0)


@pytest.fixture(scope='module')
def task(arrays, parts):
  counts = nmnist.bin_events(
      arrays, num_steps=NUM_STEPS, step_us=STEP_US, pool=POOL)
  return nmnist.make(counts, parts, way=WAY, shot=SHOT, query_shot=QUERY,
                     saturation=2)


def _events(arrays, recording):
  first, last = arrays['start'][recording:recording + 2]
  return np.stack([arrays[name][first:last] for name in (
      'x', 'y', 'polarity', 'time_us')], axis=1)


def test_five_bytes_are_x_y_polarity_and_time():
  content = bytes([33, 7, 0x80, 0x00, 0x01, 0, 33, 0x03, 0x0d, 0x40,
                   5, 6, 0x84, 0x93, 0xe1])
  np.testing.assert_array_equal(
      nmnist_files.decode(content, 'a.bin'),
      [[33, 7, 1, 1], [0, 33, 0, 200_000], [5, 6, 1, 300_001]])


def test_an_overflow_adds_to_the_time_of_what_follows():
  events = small_data.recording(3, 4)
  marks = np.insert(events, [10, 20], [0, 240, 0, 5], axis=0)
  expected = events.copy()
  expected[10:, 3] += 8192
  expected[20:, 3] += 8192
  np.testing.assert_array_equal(
      nmnist_files.decode(small_data.aer(marks), 'a.bin'), expected)


def test_all_recordings_are_read_as_they_were_written(arrays):
  assert arrays['digit'].tolist() == sorted(list(range(10)) * PER_DIGIT)
  for recording in range(0, 10 * PER_DIGIT, 7):
    digit, number = divmod(recording, PER_DIGIT)  # Train first, then Test
    np.testing.assert_array_equal(
        _events(arrays, recording), small_data.recording(digit, number))


def test_a_folder_holds_the_same_recordings(arrays, tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist', zipped=False)
  other = nmnist_files.load(str(folder), 500)
  both = [{_events(a, r).tobytes() for r in range(10 * PER_DIGIT)}
          for a in (arrays, other)]
  assert both[0] == both[1] and len(both[0]) == 10 * PER_DIGIT
  few = nmnist_files.load(str(folder), 12)
  assert np.bincount(few['digit']).tolist() == [12] * 10


def test_an_archive_beside_what_was_extracted_is_read_once(arrays, tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist')
  small_data.nmnist(folder, zipped=False)
  other = nmnist_files.load(str(folder), 500)
  for name, value in arrays.items():
    np.testing.assert_array_equal(other[name], value)


def test_the_real_recordings_are_sound(monkeypatch):
  monkeypatch.undo()  # kept where a run keeps them
  arrays = nmnist_files.load(small_data.real('nmnist'), 500)
  assert len(arrays['digit']) == 1100 and len(arrays['x']) == 4_518_827
  assert np.bincount(arrays['digit']).min() == 89
  assert 0.4 < arrays['polarity'].mean() < 0.6
  lasts = arrays['time_us'][arrays['start'][1:] - 1]
  assert 290_000 < lasts.min() and lasts.max() < 340_000


def test_the_splits_share_neither_classes_nor_test_recordings(arrays, parts):
  pairs = [{tuple(row) for row in parts[name].classes.tolist()}
           for name in few_shot.SPLITS]
  assert [len(x) for x in pairs] == [64, 16, 20]
  assert len(set.union(*pairs)) == 100
  train, validation, test = (
      parts[name].recordings for name in few_shot.SPLITS)
  assert np.array_equal(train, validation)
  assert train.shape == (10, 16) and test.shape == (10, 4)
  assert not set(train.ravel()) & set(test.ravel())
  for table in (train, test):
    np.testing.assert_array_equal(
        arrays['digit'][table],
        np.broadcast_to(np.arange(10)[:, None], table.shape))


def test_another_seed_splits_otherwise(arrays, parts):
  other = nmnist.split(arrays['digit'], 1)
  for field in ('classes', 'recordings'):
    assert not np.array_equal(
        getattr(other['test'], field), getattr(parts['test'], field))


def test_digits_of_unequal_numbers_are_drawn_to_the_last(arrays):
  digit = np.concatenate([arrays['digit'], [7] * 12]).astype(np.uint8)
  test = nmnist.split(digit, 0)['test']
  draw = jax.jit(functools.partial(
      nmnist.draw, parts=test, way=5, shot=2, query_shot=2))
  seen = np.concatenate([
      draw(jax.random.key(seed)).recording.ravel() for seed in range(150)])
  assert seen.min() >= 0
  mine = set(test.recordings[test.recordings >= 0].tolist())
  drawn = set(test.classes.ravel().tolist())
  assert set(seen.tolist()) == {r for r in mine if digit[r] in drawn}


@pytest.mark.parametrize('split', few_shot.SPLITS)
def test_support_and_query_share_no_recording(arrays, parts, task, split):
  sample = jax.jit(task.sample, static_argnums=2)
  allowed = {tuple(row) for row in parts[split].classes.tolist()}
  for seed in range(20):
    drawn = sample(jax.random.key(seed), task.data, split).latent
    recording = np.asarray(drawn.recording)  # [W, S, 2]
    assert {tuple(row) for row in drawn.digits.tolist()} <= allowed
    assert not (set(recording[:, :SHOT].ravel())
                & set(recording[:, SHOT:].ravel()))
    np.testing.assert_array_equal(
        arrays['digit'][recording],
        np.broadcast_to(np.asarray(drawn.digits)[:, None], recording.shape))
    for pairs in recording:
      assert len({tuple(pair) for pair in pairs}) == SHOT + QUERY
      assert np.all(pairs[:, 0] != pairs[:, 1])


def test_an_input_counts_the_events_of_both_digits(arrays, task):
  episode = jax.jit(task.sample)(jax.random.key(1), task.data)
  recording = np.asarray(episode.latent.recording)
  side = 9
  for samples, start, number in ((episode.support, 0, SHOT),
                                 (episode.query, SHOT, QUERY)):
    expected = np.zeros((WAY * number, NUM_STEPS, side, 2 * side, 2))
    for w in range(WAY):
      for s in range(number):
        for half in range(2):
          for x, y, polarity, time_us in _events(
              arrays, recording[w, start + s, half]):
            step = int(time_us // STEP_US)
            if step < NUM_STEPS:
              expected[w * number + s, step, y // POOL,
                       x // POOL + half * side, polarity] += 1
    np.testing.assert_allclose(
        samples.x, np.minimum(expected / 2, 1).reshape(WAY * number, -1))
    assert samples.x.max() == 1
    assert np.argmax(samples.y, axis=1).tolist() == sorted(
        list(range(WAY)) * number)
  assert task.image_shape == (side, 2 * side, 2)


def test_counts_end_at_255(arrays):
  # All at once in one pixel, each event as often as makes some bins overflow.
  times = 12
  one = {name: np.repeat(arrays[name], times)
         for name in ('x', 'y', 'polarity', 'time_us')}
  one |= {'time_us': 0 * one['time_us'], 'start': times * arrays['start']}
  counts = nmnist.bin_events(one, num_steps=2, step_us=STEP_US, pool=34)
  sums = times * np.array([
      np.bincount(_events(arrays, recording)[:, 2], minlength=2)
      for recording in range(len(arrays['start']) - 1)])
  assert np.min(sums) < 255 < np.max(sums)
  np.testing.assert_array_equal(
      counts[:, 0, 0, 0], np.minimum(sums, 255))
  assert np.all(counts[:, 1] == 0)


def test_of_the_shortest_steps_only_the_first_sees_events(arrays):
  # Those of time 0: all others divide to infinity.
  counts = nmnist.bin_events(arrays, num_steps=2, step_us=1e-320, pool=34)
  assert np.sum(counts) == np.sum(arrays['time_us'] == 0)


@pytest.mark.parametrize('num_steps', [10**12, 2**63])
def test_more_steps_than_memory_holds_are_refused(arrays, num_steps):
  with pytest.raises(ValueError, match='^config.network.num_time_steps = .* '
                     'GB of memory; lower it$'):
    nmnist.bin_events(arrays, num_steps=num_steps, step_us=STEP_US, pool=5)


RECORDING = small_data.aer(small_data.recording(0, 0))
WHOLE = small_data.recording(0, 0)
CUT = WHOLE[WHOLE[:, 3] < 275_000]
OUTSIDE = small_data.recording(0, 0)
OUTSIDE[3, 0] = 34
MIXED = small_data.recording(0, 0)
MIXED[:, 3] = MIXED[::-1, 3].copy()
MIXED[-1, 3] = 300_000


@pytest.mark.parametrize('content, message', [
    (RECORDING[:-2], 'is cut: 198 bytes are no whole number of events'),
    (b'', 'is cut: 0 bytes'),
    (RECORDING[:50], 'is cut: its last event is at'),
    (small_data.aer(CUT), 'is cut: its last event is at 2'),
    (small_data.aer(OUTSIDE), 'is damaged: an event is outside 34 x 34'),
    (small_data.aer(MIXED), 'out of order'),
])
def test_a_damaged_recording_is_named_in_one_line(content, message, tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist', zipped=False, per_digit=4)
  (folder / 'Train/4/00001.bin').write_bytes(content)
  with pytest.raises(ValueError) as caught:
    nmnist_files.load(str(folder), 500)
  text = str(caught.value)
  assert message in text and '\n' not in text
  assert str(folder / 'Train/4/00001.bin') in text


def test_a_damaged_archive_is_named(tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist', per_digit=4)
  path = folder / 'nmnist.zip'
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(ValueError, match='nmnist.zip is damaged'):
    nmnist_files.load(str(folder), 500)


def test_a_digit_without_recordings_is_named(tmp_path):
  folder = small_data.nmnist(tmp_path / 'nmnist', zipped=False, per_digit=4)
  for path in (folder / 'Train/6').iterdir():
    path.unlink()
  for path in (folder / 'Test/6').iterdir():
    path.unlink()
  with pytest.raises(ValueError, match='holds no recording of digit 6'):
    nmnist_files.load(str(folder), 500)


def test_without_a_folder_the_ways_out_are_named():
  with pytest.raises(errors.InputError) as caught:
    validation_lib.check(config_file.get_config())
  text = str(caught.value)
  assert '--config.task.data_dir' in text and data_cache.VARIABLE in text
  assert '\n' not in text


@pytest.mark.parametrize('change, message', [
    ({'way': 17}, 'config.task.way = 17: must be at most 16'),
    ({'shot': 3}, 'config.task.shot = 3: must be at most 2'),
    ({'query_shot': 3}, 'config.task.query_shot = 3: must be at most 2'),
    ({'query_shot': 2}, 'network.code'),
])
def test_what_the_splits_cannot_hold_is_refused(change, message, tmp_path):
  config = config_file.get_config('tiny')
  config.task.data_dir = str(small_data.nmnist(tmp_path))
  config.task.query_shot = 2
  config.task.update(change)
  if message == 'network.code':
    config.network.code = 'latency'
  with pytest.raises(errors.InputError, match=message):
    validation_lib.check(config)
