"""Contracts of devices, learners and task families.

Each is a NamedTuple of pure functions. A file that receives one never asks
which one it is: `crossbar` sees only a `Device`, `maml` only a `Learner`.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax

from meta_analog.core import clock

State = Any
Info = dict[str, Any]


class Device(NamedTuple):
  """One memory technology, acting elementwise on arrays of devices.

  Attributes:
    program: `(key, target_uS) -> state`. A fresh population of devices
      (device-to-device spread included), programmed to a target by a
      procedure that ends now.
    pulse: `(key, state, num_pulses) -> state`. `num_pulses` is a float
      array of whole numbers, at most the device's static maximum in absolute
      value; negative only for a bidirectional device. The gradient with
      respect to it is the mean step of the device at its present state.
    reset: `(key, state, mask) -> state`. RESET where mask is true.
    advance: `(state, elapsed_s) -> state`. Lets time pass: every device gets
      older by elapsed_s, which is then now.
    read: `(key, state, elapsed_s) -> g_uS`. One noisy read, elapsed_s after
      now; never clipped.
    read_stats: `(state, elapsed_s) -> (mean_uS, sigma_uS)` of such a read.

  A state holds ages and no date (`clock` has those): a device pulsed a second
  ago is a second old in float32, whatever the year.
  """

  program: Callable[[jax.Array, jax.Array], State]
  pulse: Callable[[jax.Array, State, jax.Array], State]
  reset: Callable[[jax.Array, State, jax.Array], State]
  advance: Callable[[State, jax.Array], State]
  read: Callable[[jax.Array, State, jax.Array], jax.Array]
  read_stats: Callable[[State, jax.Array], tuple[jax.Array, jax.Array]]


class Samples(NamedTuple):
  """A support or a query set."""

  x: jax.Array  # [N, I], dimensionless input currents
  y: jax.Array  # [N, O], targets


class Learner(NamedTuple):
  """Something that is made from meta-parameters and adapts to a task.

  Attributes:
    init: `(key, theta) -> state`. The state of a fresh chip, programmed at
      time 0; of `learner.make` a `LearnerState`, the chip and the parameters
      of its rule.
    predict: `(key, state, inputs, time) -> (outputs, info)`. One forward pass
      of inputs [N, I] at a `clock.Time`; outputs [N, O].
    update: `(key, state, support, time) -> (state, info)`. One adaptation
      event whose support set is read at a `clock.Time`.
  """

  init: Callable[[jax.Array, Any], Any]
  predict: Callable[[jax.Array, Any, jax.Array, clock.Time],
                    tuple[jax.Array, Info]]
  update: Callable[[jax.Array, Any, Samples, clock.Time], tuple[Any, Info]]


class Episode(NamedTuple):
  """One draw from a task family."""

  support: Samples
  query: Samples
  latent: Any  # what defines the task, for figures and baselines


class Task(NamedTuple):
  """A task family.

  Attributes:
    num_inputs: width of x.
    num_outputs: width of y.
    metric: 'mse' or 'accuracy'.
    sample: `(key, data, split) -> Episode`. Of the split 'train', which is the
      default, 'validation' or 'test'; they share no classes where there are
      classes.
    baselines: `episodes -> {name: [B] loss of each task}` for predictors that
      need no network; episodes carry a leading axis B.
    dense: `episode -> Episode` whose query set runs over the inputs in order,
      for drawing, or None where that has no meaning.
    data: what `sample` and `recall` draw from, arrays that a compiled function
      takes as an argument; () where samples are computed.
    recall: `(latent, data) -> Episode`, where the latent says all of it, else
      None. Such an episode is recorded by its latent.
    image_shape: (height, width, channels) of an input, or of each of its time
      steps; None where inputs are no images.
  """

  num_inputs: int
  num_outputs: int
  metric: str
  sample: Callable[..., Episode]
  baselines: Callable[[Episode], dict[str, jax.Array]]
  dense: Callable[[Episode], Episode] | None = None
  data: Any = ()
  recall: Callable[[Any, Any], Episode] | None = None
  image_shape: tuple[int, int, int] | None = None
