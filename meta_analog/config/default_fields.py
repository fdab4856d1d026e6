"""Fields that the configs of all tasks share, each once, with its meaning.

A physical quantity carries its unit in its name. The comments of a field, after
it and directly above it, are its entry in the reference (`config.reference`),
with the unit in brackets where the name does not say it.
"""

import ml_collections

from meta_analog.crossbar import energy
from meta_analog.devices import registry as device_registry
from meta_analog.programming import verify_options


def make() -> ml_collections.ConfigDict:
  """Returns an unlocked config of these fields, for sinusoids on PCM."""
  c = ml_collections.ConfigDict()
  c.name = ''  # of the config file, which names the run's folder
  c.variant = ''  # comma-separated variants that were applied
  c.seed = 0  # of everything that is random
  c.device = 'pcm'  # or any other key of device_params
  # {technology: its parameters}; those of `device` are used.
  c.device_params = device_registry.default_params()
  # {event: energy or time}, orders of magnitude; sources in energy.py.
  c.prices = ml_collections.ConfigDict(energy.Prices()._asdict())
  # Program-and-verify: what it may spend, and the tolerance that ends it.
  c.verification = ml_collections.ConfigDict(
      verify_options.VerifyOptions(delay_s=0.25)._asdict())
  for section in (_noise, _network, _crossbar, _periphery, _adapt, _init,
                  _training, _descent, _evaluation):
    section(c)
  return c


def _noise(c):
  """Factor of each source's standard deviation; 0 switches the source off."""
  c.noise = ml_collections.ConfigDict()
  c.noise.hidden_program = 1.0  # of programming errors, hidden layers
  c.noise.hidden_read = 1.0  # of read noise, hidden layers
  c.noise.hidden_write = 1.0  # of pulses and RESETs, hidden layers
  c.noise.output_program = 1.0  # of programming errors, output layer
  c.noise.output_read = 1.0  # of read noise, output layer
  c.noise.output_write = 1.0  # of pulses and RESETs, output layer
  c.noise.drift_spread = 1.0  # of drift exponents, all layers


def _network(c):
  """Spiking network."""
  c.network = ml_collections.ConfigDict()
  c.network.hidden_sizes = (40, 40)  # neurons of each dense hidden layer
  # Currents that code one input number, by triangular tuning curves; 1: itself.
  c.network.input_channels = 8
  c.network.neuron = 'lif'  # or 'rate', graded and without spikes or reset
  c.network.num_time_steps = 100  # of a forward pass
  c.network.dt_ms = 1.0  # length of a time step
  c.network.tau_mem_ms = 10.0  # time constant of the membranes
  c.network.tau_out_ms = 1.0  # time constant of the output's filter
  c.network.threshold = 1.0  # membrane potential of a spike
  c.network.reset = 'soft'  # or 'hard', 'none'
  # Derivative of a spike: or 'arctan', 'triangle'.
  c.network.surrogate = 'fast_sigmoid'
  c.network.surrogate_slope = 1.0  # steepness of that derivative
  c.network.readout_start = 0  # first time step of the averaged output


def _crossbar(c):
  """Arrays: devices, conductances, read noise, drift, yield."""
  c.crossbar = ml_collections.ConfigDict()
  c.crossbar.hidden_devices = 4  # per polarity, hidden layers
  c.crossbar.output_devices = 4  # per polarity, output layer
  c.crossbar.span_uS = 10.0  # largest programmed difference of a pair
  # Lowest target, of half of all devices: the RESET state, where it is lower.
  c.crossbar.floor_uS = 0.1
  # Share of the read variance that is new at every time step, for 1/f noise:
  # ln(0.1 s / 250 ns) / ln(100 s / 250 ns).
  c.crossbar.fresh_read_share = 0.65
  # Whether reads close in time share the slow part of their 1/f noise. Counts
  # where there are several adaptation events, or reads that verify, refresh or
  # program; else the reads of a chip are too far apart.
  c.crossbar.slow_read_noise = True
  # 'clock' undoes the mean drift since programming by one gain for all arrays,
  # known from the time alone; 'global' and 'column' measure it on the noisy
  # array; 'none' leaves it.
  c.crossbar.drift_compensation = 'clock'
  # After programming or a write: when the baseline of drift is measured.
  c.crossbar.calibrate_after_s = 40.0
  c.crossbar.stuck_fraction = 0.0  # share of stuck devices: 1 minus the yield
  c.crossbar.stuck_high_share = 0.5  # of the stuck devices, those shorted


def _periphery(c):
  """Converters, tiles, amplifiers and wires around the arrays."""
  c.periphery = ml_collections.ConfigDict()
  c.periphery.dac_bits = 8  # resolution of inputs; 32 is exact
  c.periphery.dac_range = 1.0  # largest input
  c.periphery.adc_bits = 8  # resolution of outputs; 32 is exact
  # Largest output, in full weights times the largest input: at 90 Hz some 3.5
  # of 40 neurons spike in one step.
  c.periphery.adc_range = 4.0
  # Rows of one array, as in the 14 nm core of Khaddam-Aljameh, 2022. A layer
  # takes at most 64 arrays of rows.
  c.periphery.tile_rows = 256
  c.periphery.tile_columns = 256  # columns of one array, likewise
  c.periphery.gain_std = 0.0  # spread of the columns' gains; 0: calibrated
  c.periphery.offset_std = 0.0  # spread of their offsets, in full weights
  c.periphery.ir_drop = 0.0  # factor of wire resistances, 1: Rasch et al., 2023


def _adapt(c):
  """Adaptation to a new task: rule, pulses, writes, times, refresh."""
  c.adapt = ml_collections.ConfigDict()
  c.adapt.layers = 'output'  # that are written; or 'all'
  # Of the meta-gradient through the adaptation; or 'first'.
  c.adapt.order = 'second'
  c.adapt.rule = 'ridge'  # that computes the updates; or 'delta'
  # From updates to pulses; or 'nearest', 'threshold'.
  c.adapt.encoding = 'descent'
  c.adapt.write = 'open_loop'  # or 'verified', see `verification`; 'exact'
  c.adapt.update_bits = 5  # at most 2^(b-1) - 1 pulses of either sign
  c.adapt.num_steps = 1  # batch steps of the delta rule, in the periphery
  c.adapt.num_events = 1  # adaptation events: read, compute updates, write
  c.adapt.event_interval_s = 10.0  # from one event to the next
  c.adapt.t_read_s = 100.0  # chip time of the first event's forward pass
  c.adapt.t_prog_s = 101.0  # chip time of the first event's write
  # RESET of pairs that ran out of headroom: 'threshold', 'update_ready'.
  c.adapt.refresh = 'none'
  # For 'threshold': pairs with a device above it are refreshed, unless ...
  c.adapt.refresh_level_uS = 9.0
  # For 'threshold': ... their difference is at least this.
  c.adapt.refresh_difference_uS = 4.5
  # For 'update_ready': highest conductance that an update may lead to.
  c.adapt.refresh_ceiling_uS = 10.0
  c.adapt.refresh_pulses = 40  # most pulses that program a pair again


def _init(c):
  """Initial meta-parameters."""
  c.init = ml_collections.ConfigDict()
  # Standard deviation of weights: first, later hidden, output layer.
  c.init.weight_std = (3.0, 3.0, 0.02)
  # Weight of the full span: first, later hidden, output layer.
  c.init.weight_max = (9.0, 9.0, 20.0)
  c.init.rate = 1.0  # learning rate of the delta rule
  c.init.threshold = 0.5  # least update that is written, in pulses
  c.init.penalty = 1e-3  # of the ridge regression
  # Write-noise penalty of a pulse: its variance by the square of its mean step,
  # 0.3^2 / 0.8^2.
  c.init.harm = 0.15


def _training(c):
  """Meta-training."""
  c.training = ml_collections.ConfigDict()
  c.training.num_steps = 1000  # steps of meta-training
  c.training.tasks_per_step = 32  # tasks of a meta-batch
  c.training.tasks_per_chip = 4  # of them on one chip
  # Tasks of a chip that are one batch; 0: what suits the machine.
  c.training.tasks_at_once = 0
  # Chips that are one batch; 0: what suits the machine.
  c.training.chips_per_chunk = 0
  c.training.learning_rate = 1e-2  # the highest of the schedule
  c.training.warmup_fraction = 0.03  # of num_steps, until it is reached
  c.training.clip_norm = 1.0  # largest norm of a gradient
  c.training.noise_start = 0.0  # fraction of num_steps at noise scale 0
  c.training.noise_full = 0.1  # fraction from which the noise is full
  c.training.t_query_s = 251.0  # chip time of the query set
  c.training.rate_min_Hz = 5.0  # firing rate below which a layer is penalised
  c.training.rate_max_Hz = 200.0  # firing rate above which it is, too
  c.training.rate_penalty = 0.03  # factor of that loss, of mean rates in a task
  c.training.checkpoint_every = 500  # steps
  c.training.log_every = 10  # steps


def _descent(c):
  """Gradient descent that programs test chips on measured products."""
  c.descent = ml_collections.ConfigDict()
  c.descent.num_iterations = 60  # measurements, each with pulses after it
  c.descent.num_inputs = 64  # random inputs of a measurement
  c.descent.num_levels = 40  # most pulses of a pair in the first train
  c.descent.decay = 0.9  # of the gradient's running mean, per iteration
  c.descent.threshold = 0.9  # mean that gives a pulse, in steps of a device
  c.descent.interval_s = 0.25  # from one iteration to the next


def _evaluation(c):
  """Test on held-out tasks and fresh chips."""
  c.evaluation = ml_collections.ConfigDict()
  c.evaluation.num_tasks = 1000  # held-out tasks
  c.evaluation.num_chips = 100  # chips that share them evenly
  c.evaluation.t_test_s = 251.0  # chip time of the test before and after
  # Chip times of further tests after adaptation.
  c.evaluation.after_s = (151.0, 251.0, 3600.0, 86400.0, 2592000.0, 31536000.0)
  # 'before_each_test': before each date after the first query the support set
  # is read again and the layer written again.
  c.evaluation.adapt_anew = 'never'
  c.evaluation.noise_scale = 1.0  # factor of all noise of test chips
  # Of test chips: by the 'statistical' model; from RESET, 'verified' by pulses
  # and reads or by gradient 'descent' on measured products.
  c.evaluation.programming = 'statistical'
  c.evaluation.ordinary_steps = 200  # of ordinary training, for one figure
