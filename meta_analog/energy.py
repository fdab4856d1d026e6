"""Energy and latency: counts of pulses, RESETs, reads and products, priced.

Orders of magnitude. The prices come from chips and cells of different nodes
and are meant to be replaced by those of your own:

    SET pulse, RESET   90 nm cell, I^2 R and access transistor (NVSim,
                       sample_PCRAM.cell, after Lee et al., ISCA 2009)
    read of a device   V^2 G t at 0.2 V and 250 ns
    product            14 nm 64-core chip with 8-bit converters, 9.76 TOPS/W
                       and 63.1 TOPS at 2 x 256 x 256 operations a core
                       (Le Gallo et al., 2023, doi:10.1038/s41928-023-01010-1)

A product costs the same whatever its inputs: silent rows save nothing here.
"""

from typing import NamedTuple


class Prices(NamedTuple):
  """Energy and time of one event."""

  set_pJ: float = 10.0  # pJ, one SET pulse
  reset_pJ: float = 7.2  # pJ, one RESET pulse
  read_fJ_per_uS: float = 10.0  # fJ per uS, one read of one device
  mac_pJ: float = 0.205  # pJ, one pair of devices in one product
  set_ns: float = 150.0  # ns
  reset_ns: float = 40.0  # ns
  read_ns: float = 250.0  # ns
  product_ns: float = 133.0  # ns, one product of one layer, tiles in parallel
  parallel_writes: float = 1.0  # devices that are pulsed or read at once
  # Of a procedure that programs a device to a target where only its result is
  # modelled; assumed.
  program_pulses: float = 20.0
  program_reads: float = 20.0


class Counts(NamedTuple):
  """What a write did, summed over devices."""

  sets: float
  resets: float
  reads: float


class Layer(NamedTuple):
  """What a product of one layer takes."""

  num_rows: int  # bias included
  num_outputs: int
  num_devices: int  # pairs of devices in parallel
  num_tiles: int  # tiles that the rows fill


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
  """Returns how long a write takes, in ms; delays that it waits are extra."""
  serial_ns = (counts.sets * prices.set_ns + counts.resets * prices.reset_ns
               + counts.reads * prices.read_ns)
  return 1e-6 * serial_ns / prices.parallel_writes


def product_nJ(prices: Prices, layers: tuple[Layer, ...]) -> float:
  """Returns the energy of one product of every layer, nJ."""
  pairs = sum(x.num_rows * x.num_outputs * x.num_devices for x in layers)
  return 1e-3 * prices.mac_pJ * pairs


def products_ms(
    prices: Prices, layers: tuple[Layer, ...], num_steps: int
) -> float:
  """Returns how long one sample takes, in ms, one layer after the other.

  As fast as the arrays allow; neurons in real time take num_steps dt.
  """
  return 1e-6 * prices.product_ns * len(layers) * num_steps


def program_counts(prices: Prices, num_devices: int) -> Counts:
  """Returns the assumed counts of programming devices to targets."""
  return Counts(sets=prices.program_pulses * num_devices, resets=num_devices,
                reads=prices.program_reads * num_devices)


def account(
    prices: Prices,
    layers: tuple[Layer, ...],
    num_steps: int,
    num_presentations: int,
    program: Counts,
    adaptation: Counts,
    mean_uS: float,
) -> dict[str, dict[str, float]]:
  """Returns the energy and the latency of a deployment.

  Args:
    prices: see `Prices`.
    layers: of the network.
    num_steps: time steps of one sample.
    num_presentations: samples presented during adaptation, all events.
    program: counts of programming the chip.
    adaptation: counts of all adaptation events of one task.
    mean_uS: mean conductance of a device.

  Returns:
    {'energy': {'program_nJ', 'adaptation_nJ', 'adaptation_write_nJ',
    'inference_nJ_per_sample'}, 'latency': {'program_ms', 'adaptation_ms',
    'adaptation_write_ms', 'inference_ms_per_sample'}}. The adaptation holds the
    products of the support set's presentations and the write.
  """
  sample_nJ = num_steps * product_nJ(prices, layers)
  sample_ms = products_ms(prices, layers, num_steps)
  write_nJ_, write_ms_ = (write_nJ(prices, adaptation, mean_uS),
                          write_ms(prices, adaptation))
  return {
      'energy': {
          'program_nJ': write_nJ(prices, program, mean_uS),
          'adaptation_nJ': num_presentations * sample_nJ + write_nJ_,
          'adaptation_write_nJ': write_nJ_,
          'inference_nJ_per_sample': sample_nJ},
      'latency': {
          'program_ms': write_ms(prices, program),
          'adaptation_ms': num_presentations * sample_ms + write_ms_,
          'adaptation_write_ms': write_ms_,
          'inference_ms_per_sample': sample_ms}}
