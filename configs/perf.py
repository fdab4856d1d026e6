"""Sinusoids in performance mode: ideal devices, updates of two bits.

    python launch/main.py --config configs/perf.py

The same network on ideal devices that start from random weights and are then
meta-trained. A new task is learned from 20 samples by one write of the output
layer, in which every weight moves by -1, 0 or +1 steps of a learned size.

Measured at commit 68a9ed018f, jax 0.10.2, 2 idle CPU cores: 36 s of training,
query mean squared error 3.25 before and 0.0137 +- 0.0005 after adaptation
(1,000 held-out tasks, 100 fresh chips, seed 0); four events 0.0074 +- 0.0004
(commit 8fb9c5699c, 182 s on one busy core).
"""

import ml_collections

from meta_analog.crossbar import energy
from meta_analog.devices import registry as device_registry
from meta_analog.programming import verify_options

# Each variant changes these fields and no others.
VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': {
        'network.hidden_sizes': (8, 8),
        'network.num_time_steps': 20,
        'training.num_steps': 6,
        'training.tasks_per_step': 8,
        'training.checkpoint_every': 3,
        'training.log_every': 2,
        'evaluation.num_tasks': 20,
        'evaluation.num_chips': 4,
        'evaluation.ordinary_steps': 20,
    },
    # Four adaptation events, each measured on the array it corrects.
    'four_events': {
        'adapt.num_events': 4,
        'training.num_steps': 600,
    },
}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config.

  Args:
    argument: comma-separated names of VARIANTS, applied in that order.

  Returns:
    A locked `ConfigDict`.

  Raises:
    ValueError: if a variant is unknown.
  """
  c = ml_collections.ConfigDict()
  c.name = 'perf'
  c.variant = argument
  c.seed = 0
  c.device = 'ideal'
  c.device_params = device_registry.default_params()

  # Of each source of noise what part is there; 0 switches it off.
  c.noise = ml_collections.ConfigDict()
  c.noise.hidden_program = 1.0
  c.noise.hidden_read = 1.0
  c.noise.hidden_write = 1.0
  c.noise.output_program = 1.0
  c.noise.output_read = 1.0
  c.noise.output_write = 1.0  # of pulses
  c.noise.drift_spread = 1.0  # of all layers

  c.task = ml_collections.ConfigDict()
  c.task.name = 'sinusoid'
  c.task.support_size = 20
  c.task.query_size = 20
  c.task.amplitude_min = 0.1
  c.task.amplitude_max = 5.0
  c.task.phase_max = 3.141592653589793
  c.task.x_max = 5.0

  c.network = ml_collections.ConfigDict()
  c.network.hidden_sizes = (40, 40)
  # Currents that code one input number, by triangular tuning curves; 1: itself.
  c.network.input_channels = 8
  c.network.neuron = 'lif'  # or 'rate', graded and without spikes or reset
  c.network.num_time_steps = 100
  c.network.dt_ms = 1.0
  c.network.tau_mem_ms = 10.0
  c.network.tau_out_ms = 1.0
  c.network.threshold = 1.0
  c.network.reset = 'soft'  # or 'hard', 'none'
  c.network.surrogate = 'fast_sigmoid'  # or 'arctan', 'triangle'
  c.network.surrogate_slope = 1.0
  c.network.readout_start = 0  # first time step of the averaged output

  c.crossbar = ml_collections.ConfigDict()
  c.crossbar.hidden_devices = 1  # per polarity
  c.crossbar.output_devices = 1
  c.crossbar.span_uS = 10.0  # largest programmed difference of a pair
  c.crossbar.floor_uS = 0.0
  c.crossbar.fresh_read_share = 0.0
  c.crossbar.drift_compensation = 'none'  # or 'clock', 'global', 'column'
  # Seconds after programming or a write at which its baseline is measured.
  c.crossbar.calibrate_after_s = 40.0

  # Stuck devices: 1 minus the yield, and the share of them that is shorted.
  c.crossbar.stuck_fraction = 0.0
  c.crossbar.stuck_high_share = 0.5

  c.periphery = ml_collections.ConfigDict()
  c.periphery.dac_bits = 8  # 32 is exact
  c.periphery.dac_range = 1.0  # largest input
  c.periphery.adc_bits = 8
  # Largest output, in full weights times the largest input: at 90 Hz some 3.5
  # of 40 neurons spike in one step.
  c.periphery.adc_range = 4.0
  c.periphery.tile_rows = 256  # as in the 14 nm core of Khaddam-Aljameh, 2022
  c.periphery.tile_columns = 256
  c.periphery.gain_std = 0.0  # of the columns; 0: calibrated
  c.periphery.offset_std = 0.0  # in full weights
  c.periphery.ir_drop = 0.0  # 1: wires as in Rasch et al., 2023

  # Energy and time of one event: orders of magnitude, sources in energy.py.
  c.prices = ml_collections.ConfigDict(energy.Prices()._asdict())

  c.adapt = ml_collections.ConfigDict()
  c.adapt.layers = 'output'  # or 'all'
  c.adapt.order = 'second'  # or 'first'
  c.adapt.rule = 'ridge'  # or 'delta'
  c.adapt.encoding = 'descent'  # or 'nearest', 'threshold'
  c.adapt.write = 'open_loop'  # or 'verified', within c.verification; 'exact'
  c.adapt.update_bits = 2  # levels -1, 0, +1
  c.adapt.num_steps = 1  # batch steps of the delta rule, in the periphery
  c.adapt.num_events = 1
  c.adapt.event_interval_s = 10.0
  c.adapt.t_read_s = 100.0
  c.adapt.t_prog_s = 101.0
  # RESET of pairs that ran out of room: 'threshold' or 'update_ready'.
  c.adapt.refresh = 'none'
  c.adapt.refresh_level_uS = 9.0  # per device
  c.adapt.refresh_difference_uS = 4.5
  c.adapt.refresh_ceiling_uS = 10.0
  c.adapt.refresh_pulses = 40  # most that write a pair anew

  # Program-and-verify: what it may spend, and when it is content.
  c.verification = ml_collections.ConfigDict(
      verify_options.VerifyOptions(delay_s=0.25)._asdict())

  c.init = ml_collections.ConfigDict()
  c.init.weight_std = (3.0, 3.0, 0.02)  # first, later hidden, output layer
  c.init.weight_max = (9.0, 9.0, 20.0)  # weight of the full span
  c.init.rate = 1.0
  c.init.threshold = 0.5
  c.init.penalty = 1e-3
  c.init.harm = 1e-3

  c.training = ml_collections.ConfigDict()
  c.training.num_steps = 1000
  c.training.tasks_per_step = 32
  c.training.tasks_per_chip = 4
  c.training.tasks_at_once = 0  # of a chip; 0: what suits the machine
  c.training.chips_per_chunk = 0  # 0: what suits the machine
  c.training.learning_rate = 1e-2
  c.training.warmup_fraction = 0.03
  c.training.clip_norm = 1.0
  c.training.noise_start = 0.0  # ideal devices have no noise
  c.training.noise_full = 0.0
  c.training.t_query_s = 251.0
  c.training.rate_min_Hz = 5.0
  c.training.rate_max_Hz = 200.0
  c.training.rate_penalty = 0.03  # of the mean rates in each task
  c.training.checkpoint_every = 500
  c.training.log_every = 10

  # Many runs in one compiled step: the product of the axes that are not empty.
  c.sweep = ml_collections.ConfigDict()
  c.sweep.seeds = ()
  c.sweep.noise_scales = ()  # of the device's parameters
  c.sweep.learning_rates = ()
  # Members that are one vectorised axis; 0: one on a CPU, all elsewhere.
  c.sweep.members_at_once = 0

  c.descent = ml_collections.ConfigDict()
  c.descent.num_iterations = 60
  c.descent.num_inputs = 64
  c.descent.num_levels = 40  # most pulses of a pair in the first train
  c.descent.decay = 0.9
  c.descent.threshold = 0.9
  c.descent.interval_s = 0.25

  c.evaluation = ml_collections.ConfigDict()
  c.evaluation.num_tasks = 1000
  c.evaluation.num_chips = 100
  c.evaluation.t_test_s = 251.0
  c.evaluation.after_s = (151.0, 251.0, 3600.0, 86400.0, 2592000.0, 31536000.0)
  # 'before_each_test': shows the support set again before each date after the
  # first query, and writes again.
  c.evaluation.adapt_anew = 'never'
  c.evaluation.noise_scale = 1.0
  # How test chips are programmed; from RESET, 'verified' by pulses and reads or
  # by gradient 'descent' on measured products.
  c.evaluation.programming = 'statistical'
  c.evaluation.ordinary_steps = 200  # of ordinary training, for one figure

  for name in filter(None, argument.split(',')):
    if name not in VARIANTS:
      raise ValueError(f'config argument {name!r}: must be one of '
                       f'{", ".join(VARIANTS)}')
    c.update_from_flattened_dict(VARIANTS[name])
  return c.lock()
