"""Energy and latency from counts of pulses, reads, products and digital work.

Orders of magnitude. The prices come from chips and cells of different nodes
and should be replaced by those of your own:

    SET pulse, RESET   90 nm cell, I^2 R and access transistor (NVSim,
                       sample_PCRAM.cell, after Lee et al., ISCA 2009)
    read of a device   V^2 G t at 0.2 V and 250 ns
    product            14 nm 64-core chip with 8-bit converters, 9.76 TOPS/W
                       and 63.1 TOPS at 2 x 256 x 256 operations a core
                       (Le Gallo et al., 2023, doi:10.1038/s41928-023-01010-1).
                       A cell, one weight, has four devices, two for each
                       polarity (there; Ortner et al., 2025,
                       doi:10.1038/s41467-025-56345-4): 0.205 pJ a cell
    digital operation  45 nm, 0.9 V, float32: 3.7 pJ to multiply, 0.9 pJ to add,
                       5 pJ for a word of an 8 kB memory (Horowitz, 2014,
                       doi:10.1109/ISSCC.2014.6757323)

A product costs the same for all inputs: silent rows save nothing here. Not
priced: communication, leakage, idle power, and the time of digital operations.
"""

from typing import NamedTuple


class Prices(NamedTuple):
  """Energy and time of one event."""

  set_pJ: float = 10.0  # pJ, one SET pulse
  reset_pJ: float = 7.2  # pJ, one RESET pulse
  read_fJ_per_uS: float = 10.0  # fJ per uS, one read of one device
  # pJ, one pair of devices in one product: half a cell of Le Gallo et al.,
  # 2023, 2 / 9.76 TOPS/W, which has two pairs.
  mac_pJ: float = 0.1025
  # pJ, a multiply-add in float32 and one word of memory (Horowitz, 2014).
  digital_pJ: float = 9.6
  set_ns: float = 150.0  # ns, one SET pulse
  reset_ns: float = 40.0  # ns, one RESET pulse
  read_ns: float = 250.0  # ns, one read of one device
  product_ns: float = 133.0  # ns, one product of one layer, tiles in parallel
  parallel_writes: float = 1.0  # devices that are pulsed or read at once
  # Of a device that is programmed to a target where only the result of the
  # procedure is modelled; assumed.
  program_pulses: float = 20.0
  program_reads: float = 20.0


class Counts(NamedTuple):
  """Counts of a write, summed over devices."""

  sets: float
  resets: float
  reads: float


class Layer(NamedTuple):
  """Size of one layer."""

  num_rows: int  # bias included
  num_outputs: int
  num_devices: int  # pairs of devices in parallel
  num_tiles: int  # that its rows and columns fill
  num_products: int = 1  # in a time step: the positions of a convolution


class Plan(NamedTuple):
  """Everything in a deployment but the writes."""

  num_steps: int  # time steps of a sample
  num_events: int  # adaptation events
  num_samples: int  # of the support set
  num_written: int  # layers that are written, the last ones
  probe_products: int  # of one drift measurement, 0 without
  program_products: int  # of every layer, for its programming
  program_wait_s: float  # between pulses and reads, at most
  event_wait_s: float


class Operations(NamedTuple):
  """Digital operations: multiply-adds or as much, see `Prices.digital_pJ`."""

  program: float  # of programming the chip
  sample: float  # of one forward pass
  adaptation: float  # of all adaptation events of a task, but forward passes


def write_nJ(prices: Prices, counts: Counts, mean_uS: float) -> float:
  """Returns the energy of a write.

  Args:
    prices: see `Prices`.
    counts: of pulses, RESETs and reads.
    mean_uS: mean conductance of the devices that are read.

  Returns:
    nJ.
  """
  reads_pJ = counts.reads * mean_uS * prices.read_fJ_per_uS * 1e-3
  pulses_pJ = counts.sets * prices.set_pJ + counts.resets * prices.reset_pJ
  return 1e-3 * (pulses_pJ + reads_pJ)


def write_ms(prices: Prices, counts: Counts) -> float:
  """Returns how long a write takes without its delays, in ms."""
  serial_ns = (counts.sets * prices.set_ns + counts.resets * prices.reset_ns
               + counts.reads * prices.read_ns)
  return 1e-6 * serial_ns / prices.parallel_writes


def product_nJ(prices: Prices, layers: tuple[Layer, ...]) -> float:
  """Returns the energy of one time step's products of every layer, nJ."""
  pairs = sum(x.num_products * x.num_rows * x.num_outputs * x.num_devices
              for x in layers)
  return 1e-3 * prices.mac_pJ * pairs


def products_ms(
    prices: Prices, layers: tuple[Layer, ...], num_steps: int
) -> float:
  """Returns how long one sample takes, in ms, one layer after the other.

  As fast as the arrays allow; neurons in real time take num_steps dt.
  """
  products = sum(x.num_products for x in layers)
  return 1e-6 * prices.product_ns * products * num_steps


def program_counts(prices: Prices, num_devices: int) -> Counts:
  """Returns the assumed counts of programming devices to targets."""
  return Counts(sets=prices.program_pulses * num_devices, resets=num_devices,
                reads=prices.program_reads * num_devices)


def account(
    prices: Prices,
    layers: tuple[Layer, ...],
    plan: Plan,
    program: Counts,
    adaptation: Counts,
    operations: Operations,
    mean_uS: float,
) -> dict[str, dict[str, float]]:
  """Returns the energy and the latency of a deployment.

  Args:
    prices: see `Prices`.
    layers: of the network; the written ones come last.
    plan: everything but the writes.
    program: counts of programming the chip.
    adaptation: counts of all adaptation events of one task.
    operations: digital ones.
    mean_uS: mean conductance of a device.

  Returns:
    {'energy': {'program_nJ', 'adaptation_nJ', 'adaptation_write_nJ',
    'inference_nJ_per_sample', 'calibration_nJ', 'program_digital_nJ',
    'adaptation_digital_nJ', 'inference_digital_nJ_per_sample'}, 'latency':
    {'program_ms', 'adaptation_ms', 'adaptation_write_ms',
    'inference_ms_per_sample', 'calibration_ms', 'program_wait_ms',
    'adaptation_wait_ms'}}. The adaptation is the forward passes of the support
    set, the drift measurements, the update rule and the write; what of an
    energy is digital is given again by itself, and is part of no time. The
    waits between pulse and read are upper bounds and part of no other time. A
    calibration is one drift measurement of all layers, before every forward
    pass; 0 where drift is not measured.
  """
  # An array is measured and programmed once, whatever its positions.
  alone = tuple(x._replace(num_products=1) for x in layers)
  return {'energy': _energy(prices, layers, alone, plan, program, adaptation,
                            operations, mean_uS),
          'latency': _latency(prices, layers, alone, plan, program, adaptation)}


def _energy(prices, layers, alone, plan, program, adaptation, operations,
            mean_uS):
  """Returns the energies of `account`, nJ."""
  digital_nJ = lambda number: 1e-3 * prices.digital_pJ * number
  sample_nJ = plan.num_steps * product_nJ(prices, layers)
  probe_nJ = plan.probe_products * product_nJ(prices, alone)
  # After a write the written layers are measured again.
  again_nJ = plan.probe_products * product_nJ(
      prices, alone[-plan.num_written:])
  num_samples = plan.num_events * plan.num_samples
  written_nJ = write_nJ(prices, adaptation, mean_uS)
  adaptation_digital_nJ = digital_nJ(
      num_samples * operations.sample + operations.adaptation)
  return {
      'program_nJ': (
          write_nJ(prices, program, mean_uS)
          + plan.program_products * product_nJ(prices, alone)
          + digital_nJ(operations.program)),
      'adaptation_nJ': (num_samples * sample_nJ + written_nJ
                        + plan.num_events * (probe_nJ + again_nJ)
                        + adaptation_digital_nJ),
      'adaptation_write_nJ': written_nJ,
      'inference_nJ_per_sample': sample_nJ + digital_nJ(operations.sample),
      'calibration_nJ': probe_nJ,
      'program_digital_nJ': digital_nJ(operations.program),
      'adaptation_digital_nJ': adaptation_digital_nJ,
      'inference_digital_nJ_per_sample': digital_nJ(operations.sample)}


def _latency(prices, layers, alone, plan, program, adaptation):
  """Returns the times of `account`, ms."""
  sample_ms = products_ms(prices, layers, plan.num_steps)
  probe_ms = products_ms(prices, alone, plan.probe_products)
  again_ms = products_ms(
      prices, alone[-plan.num_written:], plan.probe_products)
  num_samples = plan.num_events * plan.num_samples
  written_ms = write_ms(prices, adaptation)
  return {
      'program_ms': (
          write_ms(prices, program)
          + products_ms(prices, alone, plan.program_products)),
      'adaptation_ms': (num_samples * sample_ms + written_ms
                        + plan.num_events * (probe_ms + again_ms)),
      'adaptation_write_ms': written_ms,
      'inference_ms_per_sample': sample_ms,
      'calibration_ms': probe_ms,
      'program_wait_ms': 1e3 * plan.program_wait_s,
      'adaptation_wait_ms': 1e3 * plan.num_events * plan.event_wait_s}
