"""Omniglot on PCM: characters told apart that were seen once.

    python launch/main.py --config configs/omniglot.py

A spiking convolutional network whose every layer is on PCM, with programming
error, drift and read noise. Hidden layers are meta-trained and then left as
they are; a new task writes the output layer alone, once.

The hidden layers are pretrained in float first: 12,000 steps in 38 minutes on
one of two busy cores (commit 8a02057, seed 0, which left
configs/pretrained/omniglot_float.npz). From that file, by

    --config.training.begin_with=configs/pretrained/omniglot_float.npz
    --config.training.pretrain_steps=0

meta-training, the test of 1,000 tasks and the figures take the minutes below,
and end in these accuracies (commit 2e8575e, seed 0, one of two busy cores):

    variant      minutes   at 251 s         after a day   after 30 days
    5way1shot          5   0.974 +- 0.003   0.973         0.973
    5way5shot          6   0.995 +- 0.001   0.995         0.995
    20way1shot         9   0.930 +- 0.003   0.929         0.927
    20way5shot        24   0.982 +- 0.001   0.982         0.981

(the last beside two others on the two cores).
"""

import ml_collections

from meta_analog.crossbar import energy
from meta_analog.devices import registry as device_registry
from meta_analog.programming import verify_options

# Devices without noise and drift, to be written by steps; as many as on PCM, as
# the gains are of that many, those of pretrained layers too.
IDEAL = {
    'device': 'ideal',
    'crossbar.floor_uS': 0.0,
    'crossbar.fresh_read_share': 0.0,
    'crossbar.drift_compensation': 'none',
    'training.noise_full': 0.0,
}
# More classes take finer weights, and so more pulses.
TWENTY = {'task.way': 20, 'task.query_shot': 2,
          'init.weight_max': (3.0, 1.5, 0.0625)}
# Each variant changes these fields and no others.
VARIANTS = {
    # The whole job in a minute, to see that it runs: no result.
    'tiny': {
        'network.convolutions': ((4, 5, 3), (8, 3, 2)),
        'training.pretrain_steps': 20,
        'training.pretrain_way': 5,
        'training.num_steps': 6,
        'training.tasks_per_step': 8,
        'training.checkpoint_every': 3,
        'training.log_every': 2,
        'evaluation.num_tasks': 20,
        'evaluation.num_chips': 4,
        'evaluation.ordinary_steps': 20,
    },
    # The float reference: exact devices, converters and writes.
    'float': IDEAL | {
        'periphery.dac_bits': 32,
        'periphery.dac_range': 1e6,
        'periphery.adc_bits': 32,
        'periphery.adc_range': 1e6,
        'adapt.write': 'exact',
    },
    # Performance mode: ideal devices, coarse writes.
    'two_bits': IDEAL | {'adapt.update_bits': 2},
    'four_bits': IDEAL | {'adapt.update_bits': 4},
    # Three events on PCM, each measured on the array that it corrects.
    'closed_loop': {
        'adapt.num_events': 3,
        'adapt.event_interval_s': 20.0,
    },
    # The default.
    '5way1shot': {'task.way': 5, 'task.shot': 1},
    '5way5shot': {'task.way': 5, 'task.shot': 5},
    '20way1shot': TWENTY | {'task.shot': 1},
    '20way5shot': TWENTY | {'task.shot': 5},
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
  c.name = 'omniglot'
  c.variant = argument
  c.seed = 0
  c.device = 'pcm'
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
  c.task.name = 'omniglot'
  c.task.way = 5  # classes of a task
  c.task.shot = 1  # support samples of a class
  c.task.query_shot = 5  # query samples of a class
  c.task.centred = True  # drawings are moved until their ink is in the middle
  # What follows from them; set them instead.
  c.task.support_size = (
      c.task.get_oneway_ref('way') * c.task.get_oneway_ref('shot'))
  c.task.query_size = (
      c.task.get_oneway_ref('way') * c.task.get_oneway_ref('query_shot'))
  # Folder of the data; '' is that of the variable META_ANALOG_DATA, and where
  # neither is named the published files are fetched.
  c.task.data_dir = ''

  c.network = ml_collections.ConfigDict()
  # (channels, side of a window, stride) of each; each is one crossbar.
  c.network.convolutions = ((16, 7, 2), (32, 5, 2), (64, 5, 2))
  c.network.hidden_sizes = ()  # dense layers after them
  c.network.input_channels = 1
  c.network.neuron = 'lif'  # or 'rate', graded and without spikes or reset
  c.network.code = 'current'  # or 'latency', 'rate'
  c.network.num_time_steps = 4
  c.network.dt_ms = 1.0
  c.network.tau_mem_ms = 2.0
  c.network.tau_out_ms = 1.0
  c.network.threshold = 1.0
  c.network.reset = 'soft'  # or 'hard', 'none'
  c.network.surrogate = 'fast_sigmoid'  # or 'arctan', 'triangle'
  c.network.surrogate_slope = 3.0
  c.network.readout_start = 0  # first time step of the averaged output

  c.crossbar = ml_collections.ConfigDict()
  c.crossbar.hidden_devices = 4  # per polarity
  c.crossbar.output_devices = 4
  c.crossbar.span_uS = 10.0  # largest programmed difference of a pair
  c.crossbar.floor_uS = 0.1
  # Share of the read variance that is new at every time step, for 1/f noise:
  # ln(0.1 s / 250 ns) / ln(100 s / 250 ns).
  c.crossbar.fresh_read_share = 0.65
  # 'clock' undoes the mean drift since programming by one gain for all arrays,
  # known from the time alone; 'none' leaves it.
  # 'global' and 'column' measure it, on the noisy array.
  c.crossbar.drift_compensation = 'clock'
  # Seconds after programming or a write at which its baseline is measured.
  c.crossbar.calibrate_after_s = 40.0

  # Stuck devices: 1 minus the yield, and the share of them that is shorted.
  c.crossbar.stuck_fraction = 0.0
  c.crossbar.stuck_high_share = 0.5

  c.periphery = ml_collections.ConfigDict()
  c.periphery.dac_bits = 8  # 32 is exact
  c.periphery.dac_range = 1.0  # largest input
  c.periphery.adc_bits = 8
  # Largest output, in full weights times the largest input.
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
  c.adapt.rule = 'delta'  # or 'ridge'
  c.adapt.encoding = 'nearest'  # or 'descent', 'threshold'
  c.adapt.write = 'open_loop'  # or 'verified', within c.verification; 'exact'
  c.adapt.update_bits = 5  # at most 2^(b-1) - 1 pulses of either sign
  c.adapt.num_steps = 30  # batch steps of the delta rule, in the periphery
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
  c.init.weight_std = (1.0, 0.5, 2e-4)  # first, later hidden, output layer
  c.init.weight_max = (3.0, 1.5, 0.125)  # weight of the full span
  c.init.rate = 0.02
  c.init.threshold = 0.5
  c.init.penalty = 1e-2
  # Variance of a pulse by the square of its mean step, 0.3^2 / 0.8^2.
  c.init.harm = 0.15

  c.training = ml_collections.ConfigDict()
  c.training.num_steps = 200
  c.training.tasks_per_step = 4
  c.training.tasks_per_chip = 2
  c.training.tasks_at_once = 0  # of a chip; 0: what suits the machine
  c.training.chips_per_chunk = 0  # 0: what suits the machine
  c.training.learning_rate = 1e-3
  c.training.warmup_fraction = 0.03
  c.training.clip_norm = 1.0
  c.training.noise_start = 0.0  # fraction of num_steps at noise scale 0
  c.training.noise_full = 0.2  # fraction from which the noise is full
  c.training.t_query_s = 251.0
  # Of the outputs, which are fitted to 0 and 1, in the cross-entropy.
  c.training.logit_scale = 10.0
  # File of meta-parameters whose hidden layers to begin with; '': random ones.
  c.training.begin_with = ''
  # Steps in float, first, on tasks of so many classes.
  c.training.pretrain_steps = 12000
  c.training.pretrain_way = 20
  c.training.pretrain_tasks = 2  # per step
  c.training.pretrain_rate = 1e-2
  c.training.pretrain_distortion = 0.06  # of every sample, relative; 0: none
  c.training.rate_min_Hz = 20.0
  c.training.rate_max_Hz = 250.0
  c.training.rate_penalty = 0.1  # of the mean rates in each task
  c.training.checkpoint_every = 100
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
  c.evaluation.after_s = (251.0, 86400.0, 2592000.0)
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
