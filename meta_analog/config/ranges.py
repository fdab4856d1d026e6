"""Ranges of the fields of a config, which validation compares with.

Every whole number has a highest value: beyond it lies a slip of the hand, and
arrays that no machine holds. What a machine at hand cannot hold is refused by
`memory`.
"""

import math

from meta_analog.config import hardware_validation
from meta_analog.config import noise_sources
from meta_analog.crossbar import energy
from meta_analog.devices import registry as device_registry
from meta_analog.programming import verify_options
from meta_analog.tasks import registry as task_registry

INF = math.inf
DEVICES = 10**4  # of one polarity of a weight
MANY = 10**6  # samples, tasks, time steps, pulses
LARGEST = 2**30  # steps of a loop, in 32 bits

# field: (lowest, highest, whether the lowest itself is allowed)
COMMON = {
    'seed': (0, 2**32 - 1, True),
    'network.input_channels': (1, MANY, True),
    'network.num_time_steps': (1, MANY, True),
    'network.dt_ms': (0, INF, False),
    'network.tau_mem_ms': (0, INF, False),
    'network.tau_out_ms': (0, INF, False),
    'network.threshold': (0, INF, False),
    'network.surrogate_slope': (0, INF, False),
    'network.readout_start': (0, MANY, True),
    'crossbar.hidden_devices': (1, DEVICES, True),
    'crossbar.output_devices': (1, DEVICES, True),
    'crossbar.span_uS': (0, INF, False),
    'crossbar.floor_uS': (0, INF, True),
    'crossbar.fresh_read_share': (0, 1, True),
    'crossbar.calibrate_after_s': (0, INF, False),
    'crossbar.stuck_fraction': (0, 1, True),
    'crossbar.stuck_high_share': (0, 1, True),
    'periphery.dac_bits': (1, 32, True),
    'periphery.dac_range': (0, INF, False),
    'periphery.adc_bits': (1, 32, True),
    'periphery.adc_range': (0, INF, False),
    'periphery.tile_rows': (1, LARGEST, True),
    'periphery.tile_columns': (1, LARGEST, True),
    'periphery.gain_std': (0, INF, True),
    'periphery.offset_std': (0, INF, True),
    'periphery.ir_drop': (0, INF, True),
    'adapt.update_bits': (1, 8, True),
    'adapt.num_steps': (1, MANY, True),
    'adapt.num_events': (1, MANY, True),
    'adapt.event_interval_s': (0, INF, False),
    'adapt.t_read_s': (0, INF, True),
    'adapt.t_prog_s': (0, INF, True),
    'adapt.refresh_pulses': (1, MANY, True),
    'init.rate': (0, INF, False),
    'init.threshold': (0, INF, False),
    'init.penalty': (0, INF, False),
    'init.harm': (0, INF, False),
    'training.num_steps': (1, LARGEST, True),
    'training.tasks_per_step': (1, MANY, True),
    'training.tasks_per_chip': (1, MANY, True),
    'training.tasks_at_once': (0, MANY, True),
    'training.chips_per_chunk': (0, MANY, True),
    'training.learning_rate': (0, INF, False),
    'training.warmup_fraction': (0, 1, True),
    'training.clip_norm': (0, INF, False),
    'training.noise_start': (0, 1, True),
    'training.noise_full': (0, 1, True),
    'training.t_query_s': (0, INF, True),
    'training.rate_min_Hz': (0, INF, True),
    'training.rate_max_Hz': (0, INF, False),
    'training.rate_penalty': (0, INF, True),
    'training.checkpoint_every': (1, LARGEST, True),
    'training.log_every': (1, 20, True),
    'descent.num_iterations': (1, MANY, True),
    'descent.num_inputs': (1, MANY, True),
    'descent.num_levels': (1, MANY, True),
    'descent.decay': (0, 0.999999, True),
    'descent.threshold': (0, INF, False),
    'descent.interval_s': (0, INF, True),
    'evaluation.num_tasks': (1, LARGEST, True),
    'evaluation.num_chips': (1, LARGEST, True),
    'evaluation.t_test_s': (0, INF, True),
    'evaluation.noise_scale': (0, INF, True),
    'evaluation.ordinary_steps': (1, LARGEST, True),
}
# The same of fields that configs of images alone have.
IMAGES = {
    'training.logit_scale': (0, INF, False),
    'training.pretrain_steps': (0, LARGEST, True),
    'training.pretrain_way': (2, MANY, True),
    'training.pretrain_tasks': (1, MANY, True),
    'training.pretrain_rate': (0, INF, False),
    'training.pretrain_distortion': (0, INF, True),
}


def of_task(name: str) -> dict[str, tuple[float, float, bool]]:
  """Returns the ranges of the fields of a task's config, but for hardware.

  Args:
    name: of a known task.
  """
  family = {f'task.{field}': limits for field, limits in
            task_registry.FAMILIES[name].ranges.items()}
  return COMMON | family | ({} if name == 'sinusoid' else IMAGES)


def table() -> dict[str, tuple[float, float, bool]]:
  """Returns {field: (lowest, highest, lowest allowed)} of every number.

  Of all tasks and devices; parameters of devices that may have either sign are
  not among them.
  """
  out = {}
  for name in task_registry.FAMILIES:
    out |= of_task(name)
  out |= {f'noise.{field}': (0, INF, True) for field in noise_sources.FIELDS}
  out |= {f'prices.{field}': hardware_validation.price_range(field)
          for field in energy.Prices._fields}
  out |= {f'verification.{field}': limits
          for field, limits in verify_options.RANGES.items()}
  for name, family in device_registry.FAMILIES.items():
    out |= {f'device_params.{name}.{field}': hardware_validation.range_of(field)
            for field in family.params()._fields
            if field not in {*family.choices, *family.signed}}
  return out
