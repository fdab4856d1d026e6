"""Model-agnostic meta-learning over a Learner: adapt, meta-loss, evaluation.

    theta  ->  chip  --(adaptation events on the support set)-->  chip'
    meta-loss = E over chips and tasks of  loss(chip'(query x), query y)

Source: Finn, Abbeel & Levine, 2017 (arXiv:1703.03400). The inner loop is
whatever the learner's `update` does, so nothing here knows of devices. Whether
second derivatives are kept is the learner's choice: it stops its own gradients
for first order.

Axes: B task on the chip, N sample, O output, D date (time of a test).
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from meta_analog.core import clock
from meta_analog.core import types

LossFn = Callable[[jax.Array, jax.Array], jax.Array]
# (chip, (key, episode)) -> (loss, info) of one task.
OneTask = Callable[[Any, tuple[jax.Array, types.Episode]],
                   tuple[jax.Array, types.Info]]


class Schedule(NamedTuple):
  """Dates of one deployment on the chip's clock, in seconds."""

  support_s: clock.Time | float  # first forward pass of the support set
  interval_s: float  # from one adaptation event to the next
  query_s: float  # forward pass of the query set in training


def adapt(
    learner: types.Learner,
    key: jax.Array,
    chip: Any,
    support: types.Samples,
    schedule: Schedule,
    *,
    num_events: int = 1,
) -> tuple[Any, types.Info]:
  """Returns the chip after its adaptation events.

  Args:
    learner: what adapts.
    key: consumed; each event has its own.
    chip: state.
    support: x [N, I], y [N, O].
    schedule: times.
    num_events: at least 1, static.

  Returns:
    The new chip, and the learner's info with a leading axis of events.
  """
  times = clock.later(
      schedule.support_s, np.arange(num_events) * schedule.interval_s)

  def body(chip, event):
    # Not a scan over split keys: batched, the checker calls that a reuse.
    i, time = event
    return learner.update(jax.random.fold_in(key, i), chip, support, time)

  if num_events == 1:  # A scan of one would be traced several times.
    chip, info = body(chip, (jnp.int32(0), jax.tree.map(lambda x: x[0], times)))
    return chip, jax.tree.map(lambda x: jnp.asarray(x)[None], info)
  return jax.lax.scan(body, chip, (jnp.arange(num_events), times))


def batched(fn: OneTask, chip: Any, items: Any) -> Any:
  """Returns fn of every item, its results stacked."""
  return jax.vmap(functools.partial(fn, chip))(items)


def meta_loss(
    learner: types.Learner,
    key: jax.Array,
    theta: Any,
    episodes: types.Episode,
    schedule: Schedule,
    loss_fn: LossFn,
    *,
    num_events: int = 1,
    over_tasks: Callable[[OneTask, Any, Any], Any] = batched,
) -> Any:
  """Returns the query loss after adaptation of each task on one fresh chip.

  Args:
    learner: what is meta-trained.
    key: consumed; the chip, and each task's events and reads, have their own.
    theta: meta-parameters.
    episodes: arrays with a leading axis B.
    schedule: times.
    loss_fn: (outputs [N, O], targets [N, O]) to a scalar.
    num_events: adaptation events per task, static.
    over_tasks: `(fn, chip, items) -> result`, with fn the loss and info of one
      task, and items the keys and episodes of all.

  Returns:
    Losses [B] and info: 'support' and 'query', the infos of the learner; or
    what `over_tasks` makes of them.
  """
  key_chip, key_tasks = jax.random.split(key)
  chip = learner.init(key_chip, theta)

  def one_task(chip, item):
    key, episode = item
    key_adapt, key_query = jax.random.split(key)
    adapted, support_info = adapt(
        learner, key_adapt, chip, episode.support, schedule,
        num_events=num_events)
    outputs, query_info = learner.predict(
        key_query, adapted, episode.query.x, clock.exact(schedule.query_s))
    info = {'support': support_info, 'query': query_info}
    return loss_fn(outputs, episode.query.y), info

  keys = jax.random.split(key_tasks, episodes.query.x.shape[0])
  return over_tasks(one_task, chip, (keys, episodes))


def evaluate(
    learner: types.Learner,
    key: jax.Array,
    theta: Any,
    episodes: types.Episode,
    schedule: Schedule,
    before: clock.Time,
    after: clock.Time,
    *,
    num_events: int = 1,
    readapt_fn: Callable[[clock.Time], types.Learner] | None = None,
) -> dict[str, Any]:
  """Returns predictions on the query sets, before and after adaptation.

  Every prediction is a forward pass of its own, with its own read noise.

  Args:
    learner: what is tested.
    key: consumed.
    theta: meta-parameters.
    episodes: arrays with a leading axis B, all on one fresh chip.
    schedule: times of the adaptation; query_s is not used.
    before: date of the test of the chip as programmed.
    after: [D], dates of the tests after adaptation.
    num_events: adaptation events per task, static.
    readapt_fn: date to the learner whose predictions are for it. Where it is
      given, each test later than query_s is of the adapted chip after another
      adaptation, as long before it as the first was before query_s. Dates are
      independent.

  Returns:
    'before' [B, N, O], 'after' [B, D, N, O], the chip as programmed 'chip' and
    as adapted to each task 'adapted' (axis B), and the learner's infos:
    'before_info', 'after_info', 'support_info' and, where chips are
    re-adapted, 'readapt_info' (axes B, D, event; 0 up to query_s).
  """
  key_chip, key_tasks = jax.random.split(key)
  chip = learner.init(key_chip, theta)

  def one_task(key, episode):
    key_before, key_adapt, key_after = jax.random.split(key, 3)
    x = episode.query.x
    at_first, before_info = learner.predict(key_before, chip, x, before)
    adapted, support_info = adapt(
        learner, key_adapt, chip, episode.support, schedule,
        num_events=num_events)

    def test(i_t):
      i, time = i_t
      new, info = adapted, {}
      if readapt_fn is not None:
        # Keys beyond those of the events of the first adaptation.
        new, info['readapt_info'] = _readapt(
            readapt_fn, jax.random.fold_in(key_adapt, num_events + i), adapted,
            episode.support, schedule, time, num_events)
      outputs, info['after_info'] = learner.predict(
          jax.random.fold_in(key_after, i), new, x, time)
      return outputs, info

    outputs, info = jax.lax.map(
        test, (jnp.arange(after.whole_s.shape[0]), after))
    return {'before': at_first, 'after': outputs, 'adapted': adapted,
            'before_info': before_info, 'support_info': support_info, **info}

  keys = jax.random.split(key_tasks, episodes.query.x.shape[0])
  return {'chip': chip, **jax.vmap(one_task)(keys, episodes)}


def _readapt(readapt_fn, key, chip, support, schedule, time, num_events):
  """Returns the chip re-adapted before a test, and the infos."""
  support_time = clock.later(time, schedule.support_s - schedule.query_s)
  new, info = adapt(
      readapt_fn(time), key, chip, support,
      schedule._replace(support_s=support_time), num_events=num_events)
  is_later = clock.elapsed_s(time, schedule.query_s) > 0
  pick = lambda x, y: jnp.where(is_later, x, y)
  return (jax.tree.map(pick, new, chip),
          jax.tree.map(lambda x: pick(x, jnp.zeros_like(x)), info))
