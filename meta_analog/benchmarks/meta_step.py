"""The meta-training step: its cost, and that of the reference learner."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from concurrent import futures
import functools
import itertools
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from meta_analog.benchmarks import timing
from meta_analog.config import build
from meta_analog.core import gaussian
from meta_analog.core import sharding
from meta_analog.core import types
from meta_analog.learning import learner
from meta_analog.runtime import compilation
from meta_analog.runtime import environment
from meta_analog.training import meta_training

LearnerFn = Callable[..., types.Learner]


class Step(NamedTuple):
  """One training step, not yet compiled."""

  lowered: Any
  arguments: tuple[tuple[Any, ...], dict[str, Any]]


def step_config(
    config: ml_collections.ConfigDict, *, noisy: bool, **fields: Any
) -> ml_collections.ConfigDict:
  """Returns a config whose noise is full from the second step on.

  Args:
    config: to begin from.
    noisy: whether reads are noisy.
    **fields: values, named with __ in the place of dots.

  Returns:
    Another config.
  """
  out = ml_collections.ConfigDict(config.to_dict())
  out.training.noise_start = out.training.noise_full = 0.0
  if not noisy:
    out.crossbar.fresh_read_share = 0.0
    params = out.device_params[out.device]
    for name in ('m3', 'c3_uS'):
      if name in params:
        params[name] = 0.0
  out.update_from_flattened_dict(
      {name.replace('__', '.'): value for name, value in fields.items()})
  return out


def sizes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """Returns the sizes of the layers, from the inputs to the outputs."""
  task = build.build(config).task
  return (task.num_inputs * config.network.input_channels,
          *config.network.hidden_sizes, task.num_outputs)


def make_step(
    config: ml_collections.ConfigDict, learner_fn: LearnerFn = learner.make
) -> Step:
  """Returns the second step of a training, traced.

  Args:
    config: of the training.
    learner_fn: see `build.build`.

  Returns:
    A `Step`.
  """
  trainer, state, key = second(config, learner_fn)
  update = trainer.update  # a functools.partial of what jax compiles
  return Step(update.func.lower(state, key, **update.keywords),
              ((state, key), update.keywords))


def second(
    config: ml_collections.ConfigDict, learner_fn: LearnerFn = learner.make
) -> tuple[meta_training.Trainer, meta_training.TrainState, jax.Array]:
  """Returns a trainer, and what its second step begins from, with its key.

  The arguments are those of `make_step`. At the first step there is no noise.
  """
  trainer = meta_training.make(config, build.build(config, learner_fn))
  key_init, key = jax.random.split(jax.random.key(config.seed))
  state = jax.jit(trainer.init)(key_init)
  return trainer, state._replace(step=state.step + 1), key


def call(step: Step, compiled: Any) -> Callable[[], Any]:
  """Returns the step as a function without arguments."""
  args, kwargs = step.arguments
  return functools.partial(compiled, *args, **kwargs)


def first_compile(step_fn: Callable[[], Step]) -> tuple[Step, Any, float]:
  """Returns a step, its program, and the seconds to trace and compile it."""
  with timing.no_cache():
    began = time.perf_counter()
    step = step_fn()
    compiled = step.lowered.compile()
    return step, compiled, time.perf_counter() - began


def compile_all(
    step_fns: Iterable[Callable[[], Step]]
) -> list[tuple[Step, Any]]:
  """Returns the traced steps and their programs, several made at a time."""
  with futures.ThreadPoolExecutor(environment.num_cores()) as pool:
    made = []
    for step_fn in step_fns:  # One is traced while those before are compiled.
      step = step_fn()
      made.append((step, pool.submit(step.lowered.compile)))
    return [(step, program.result()) for step, program in made]


def whole(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns a config of one chunk a device: the batch as one array."""
  c = config.training
  num_chips = c.tasks_per_step // c.tasks_per_chip
  return step_config(
      config, noisy=True, training__tasks_at_once=c.tasks_per_chip,
      training__chips_per_chunk=-(-num_chips // jax.device_count()))


def compare(
    config: ml_collections.ConfigDict, textbook_fn: LearnerFn, *,
    num_rounds: int, tasks_of_memory: Sequence[int], quick: bool = False
) -> tuple[dict[str, Any], Callable[[], Any]]:
  """Returns the numbers of a step beside those of the reference learner.

  The reference has all tasks of a device in one array, as vmap lays them out.
  Chunks that fit the cache are an optimization of ours, so the reference is
  measured in our chunks as well; where ours is one array too, these are one
  measurement.

  Args:
    config: of the training.
    textbook_fn: makes the reference learner, see `build.build`.
    num_rounds: in which they take turns.
    tasks_of_memory: meta-batches whose memory is measured as well.
    quick: whether to do without 'compile_s', for which it is compiled alone,
      and 'ratio_same_chunks'.

  Returns:
    'tasks'; 'ours_s' and 'textbook_s', the fewest; 'ratio' and
    'ratio_same_chunks', medians over the rounds; 'operations', 'matmul_flops',
    the highest, and 'fraction_of_matmul_rate', the median; 'compile_s',
    'peak_memory_bytes' and 'peak_memory_bytes_by_tasks'; and the step as a
    function without arguments.
  """
  made, compile_s = _compiled(config, textbook_fn, tasks_of_memory, quick)
  step_fn, products = call(*made['ours']), timing.products()
  taken = timing.interleaved(
      {'ours': step_fn, **products.fns} | {
          name: call(*made[name]) for name in ('textbook', 'same_chunks')
          if name in made}, num_rounds)
  rate = products.rate(taken)
  c = config.training
  work = timing.operations(
      c.tasks_per_step, config.task.support_size + config.task.query_size,
      config.network.num_time_steps, sizes(config))
  memory = {tasks: timing.peak_bytes(made[name][1]) for tasks, name in [
      (c.tasks_per_step, 'ours'), *((n, n) for n in tasks_of_memory)]}
  out = {
      'tasks': c.tasks_per_step, 'rule': config.adapt.rule,
      'ours_s': float(taken['ours'].min()),
      'textbook_s': float(taken['textbook'].min()),
      'ratio': timing.ratio(taken['textbook'], taken['ours']),
      'operations': work,
      'matmul_flops': float(rate.max()),
      'fraction_of_matmul_rate': float(np.median(work / taken['ours'] / rate)),
      'peak_memory_bytes': memory[c.tasks_per_step],
      'textbook_peak_memory_bytes': timing.peak_bytes(made['textbook'][1]),
      'peak_memory_bytes_by_tasks': {
          str(tasks): peak for tasks, peak in sorted(memory.items())}}
  if not quick:
    out |= {'compile_s': compile_s, 'ratio_same_chunks': timing.ratio(
        taken.get('same_chunks', taken['textbook']), taken['ours'])}
  return out, step_fn


def _compiled(config, textbook_fn, tasks_of_memory, quick):
  """Returns the steps and programs of `compare` by name, and 'compile_s'."""
  textbook, compile_s = whole(config), None
  step_fns = {'ours': functools.partial(make_step, config),
              'textbook': functools.partial(make_step, textbook, textbook_fn)}
  chunk = lambda c: (meta_training.chips_per_chunk(c), build.tasks_at_once(c))
  if not quick and chunk(config) != chunk(textbook):
    step_fns['same_chunks'] = functools.partial(make_step, config, textbook_fn)
  step_fns |= {tasks: functools.partial(make_step, step_config(
      config, noisy=True, training__tasks_per_step=tasks))
               for tasks in tasks_of_memory}
  made = {}
  if not quick:
    *made['ours'], compile_s = first_compile(step_fns.pop('ours'))
  made |= zip(step_fns, compile_all(step_fns.values()))
  return made, compile_s


def cost(
    without_fn: Callable[[], Any], with_fn: Callable[[], Any], num_rounds: int
) -> float:
  """Returns the relative extra time of a step with something, in turns."""
  taken = timing.interleaved(
      {'without': without_fn, 'with': with_fn}, num_rounds)
  return timing.ratio(taken['with'], taken['without']) - 1.0


def draw_shapes(
    config: ml_collections.ConfigDict
) -> list[tuple[int, ...]]:
  """Returns the shapes of the Gaussian values of one forward pass of a task.

  Args:
    config: of the training.

  Returns:
    [T, N, O] of each layer, new in every product, then [I, O] of each, drawn
    once; N is half the samples of the support and the query set.
  """
  pairs = list(itertools.pairwise(sizes(config)))
  num_samples = -(-(config.task.support_size + config.task.query_size) // 2)
  return [(config.network.num_time_steps, num_samples, n) for _, n in pairs] + [
      (m + 1, n) for m, n in pairs]


def draws(config: ml_collections.ConfigDict) -> Callable[[], Any]:
  """Returns the draws of a step alone, as many at once as in the step."""
  num_batched = (meta_training.chips_per_chunk(config)
                 * build.tasks_at_once(config))
  shapes = [(num_batched, *shape) for shape in draw_shapes(config)]

  def microbatch(unused, i, key, scale):
    del unused
    key = jax.random.fold_in(key, i)

    def forward(j, totals):
      keys = jax.random.split(jax.random.fold_in(key, j), len(shapes))
      return [total + scale * gaussian.normal(own, shape)
              for total, own, shape in zip(totals, keys, shapes)]

    # The result of a loop is computed whole, even if a part of it is used.
    totals = jax.lax.fori_loop(
        0, 2, forward, [jnp.zeros(shape) for shape in shapes])
    return sum(total[(0,) * total.ndim] for total in totals)

  num_microbatches = -(-config.training.tasks_per_step // num_batched)
  run = jax.jit(lambda key, scale: sharding.map_over_devices(
      microbatch, num_microbatches, (), key, scale),
                compiler_options=compilation.options(
                    config.training.num_steps))
  return functools.partial(run, jax.random.key(config.seed), jnp.float32(1.0))


def fraction_random_numbers(
    config: ml_collections.ConfigDict, ours_s: float, num_rounds: int
) -> float:
  """Returns the share of a step that drawing its noise alone takes."""
  taken = timing.interleaved({'draws': draws(config)}, num_rounds)
  return float(taken['draws'].min()) / ours_s
