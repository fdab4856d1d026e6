"""Fields of single tasks, and the values of common fields that suit them.

Comments as in `default_fields`.
"""

import ml_collections

# Values of common fields for tasks of images and events.
IMAGES = {
    'network.hidden_sizes': (),  # dense layers after the convolutions
    'network.input_channels': 1,
    'network.surrogate_slope': 3.0,
    'adapt.rule': 'delta',
    'adapt.encoding': 'nearest',
    'adapt.num_steps': 30,
    'init.weight_std': (1.0, 0.5, 2e-4),
    'init.weight_max': (3.0, 1.5, 0.125),
    'init.rate': 0.02,
    'init.penalty': 1e-2,
    'training.num_steps': 200,
    'training.tasks_per_step': 4,
    'training.tasks_per_chip': 2,
    'training.learning_rate': 1e-3,
    'training.noise_full': 0.2,
    'training.rate_penalty': 0.1,
    'training.checkpoint_every': 100,
    'evaluation.after_s': (251.0, 86400.0, 2592000.0),
}
OMNIGLOT = IMAGES | {
    'network.num_time_steps': 4,
    'network.tau_mem_ms': 2.0,
    'training.rate_min_Hz': 20.0,
    'training.rate_max_Hz': 250.0,
}
NMNIST = IMAGES | {
    'network.code': 'events',
    'network.num_time_steps': 10,
    'network.dt_ms': 30.0,  # the three saccades of a recording take 300 ms
    'network.tau_mem_ms': 60.0,
    'network.tau_out_ms': 30.0,
    'training.pretrain_steps': 2000,
    'training.pretrain_way': 16,
    'training.rate_min_Hz': 1.0,
    'training.rate_max_Hz': 15.0,
}


def check_name(task: str) -> None:
  """Raises ValueError unless a task of this name has defaults."""
  if task not in _TASKS:
    raise ValueError(f'task = {task!r}: must be one of {", ".join(_TASKS)}')


def apply(config: ml_collections.ConfigDict, task: str) -> None:
  """Adds the fields of a task to a config, and sets what suits it.

  Args:
    config: unlocked; see `default_fields.make`.
    task: known.
  """
  add, values = _TASKS[task]
  config.task = ml_collections.ConfigDict()
  config.task.name = task  # of the task family
  add(config)
  config.update_from_flattened_dict(values)


def _sinusoid(c):
  """Regression of y = A sin(x + phi)."""
  c.task.support_size = 20  # [samples] that are learned from
  c.task.query_size = 20  # [samples] that are predicted
  c.task.amplitude_min = 0.1  # lowest A
  c.task.amplitude_max = 5.0  # highest A
  c.task.phase_max = 3.141592653589793  # [rad] highest phi; the lowest is 0
  c.task.x_max = 5.0  # x lies between -x_max and x_max


def _images(c):
  """Classification of images from few samples, by convolutions."""
  c.task.way = 5  # classes of a task
  c.task.shot = 1  # support samples of a class
  c.task.query_shot = 5  # query samples of a class
  # [samples] way times shot: set these instead.
  c.task.support_size = (
      c.task.get_oneway_ref('way') * c.task.get_oneway_ref('shot'))
  # [samples] way times query_shot: set these instead.
  c.task.query_size = (
      c.task.get_oneway_ref('way') * c.task.get_oneway_ref('query_shot'))
  # Folder of the data; '': that of the variable META_ANALOG_DATA. Where neither
  # is named, the published files of Omniglot are fetched.
  c.task.data_dir = ''
  # (channels, side of a window, stride) of each; each is one crossbar.
  c.network.convolutions = ((16, 7, 2), (32, 5, 2), (64, 5, 2))
  # How inputs enter the network: images by 'current', 'latency' or 'rate',
  # recordings as 'events'.
  c.network.code = 'current'
  # Of the outputs, which are fitted to 0 and 1, in the cross-entropy.
  c.training.logit_scale = 10.0
  # File of meta-parameters whose hidden layers to begin with; '': random ones.
  c.training.begin_with = ''
  c.training.pretrain_steps = 12000  # steps in float, before meta-training
  c.training.pretrain_way = 20  # classes of a task of pretraining
  c.training.pretrain_tasks = 2  # tasks of a step of pretraining
  c.training.pretrain_rate = 1e-2  # learning rate of pretraining
  # Standard deviation of random affine maps of its samples; 0: none.
  c.training.pretrain_distortion = 0.06


def _omniglot(c):
  """Characters, as drawn images."""
  _images(c)
  c.task.centred = True  # drawings are moved until their ink is in the middle


def _nmnist(c):
  """Pairs of digits, as events of a camera."""
  _images(c)
  c.task.split_seed = 0  # of the split of classes and recordings
  c.task.most_recordings = 500  # that are used, of each digit
  c.task.pool = 2  # [pixels] of the camera along an input
  c.task.saturation = 4  # events in a time step that make an input of 1


_TASKS = {'sinusoid': (_sinusoid, {}), 'omniglot': (_omniglot, OMNIGLOT),
          'nmnist': (_nmnist, NMNIST)}
