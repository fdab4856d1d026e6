"""Energy and latency are counts times prices, nothing else."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from meta_analog.crossbar import energy

LAYERS = (energy.Layer(2, 40, 4, 1), energy.Layer(41, 40, 4, 1),
          energy.Layer(41, 1, 4, 1))
PLAN = energy.Plan(num_steps=100, num_events=1, num_samples=20, num_written=1,
                   probe_products=0, program_products=0, program_wait_s=0.0,
                   event_wait_s=0.0)
NO_OPERATIONS = energy.Operations(0, 0, 0)
amounts = st.integers(0, 10_000)


def test_a_write_is_priced_by_hand():
  prices = energy.Prices(set_pJ=10.0, reset_pJ=7.0, read_fJ_per_uS=10.0,
                         set_ns=150.0, reset_ns=40.0, read_ns=250.0,
                         parallel_writes=2.0)
  counts = energy.Counts(sets=100.0, resets=10.0, reads=1000.0)
  # 1000 pJ + 70 pJ + 1000 reads of 5 uS at 10 fJ per uS (50 pJ)
  assert energy.write_nJ(prices, counts, 5.0) == pytest.approx(1.12)
  # (15000 + 400 + 250000) ns, two devices at once
  assert energy.write_ms(prices, counts) == pytest.approx(0.1327)


def test_a_product_is_priced_by_its_pairs():
  prices = energy.Prices(mac_pJ=0.2, product_ns=100.0)
  pairs = 4 * (2 * 40 + 41 * 40 + 41)
  assert energy.product_nJ(prices, LAYERS) == pytest.approx(2e-4 * pairs)
  assert energy.products_ms(prices, LAYERS, 100) == pytest.approx(0.03)


def test_a_convolution_takes_a_product_at_every_position():
  prices = energy.Prices(mac_pJ=0.2, product_ns=100.0)
  layers = (LAYERS[0]._replace(num_products=49), *LAYERS[1:])
  pairs = 4 * (49 * 2 * 40 + 41 * 40 + 41)
  assert energy.product_nJ(prices, layers) == pytest.approx(2e-4 * pairs)
  assert energy.products_ms(prices, layers, 100) == pytest.approx(0.51)
  # Its array is programmed, and its drift measured, once for all positions.
  plan = PLAN._replace(probe_products=3, program_products=5)
  none = energy.Counts(0, 0, 0)
  one, many = (energy.account(prices, x, plan, none, none, NO_OPERATIONS, 5.0)
               for x in (LAYERS, layers))
  for kind, unit in (('energy', 'nJ'), ('latency', 'ms')):
    for name in ('program', 'calibration'):
      assert one[kind][f'{name}_{unit}'] == many[kind][f'{name}_{unit}'] > 0


def test_the_default_product_is_that_of_the_64_core_chip():
  # 63.1 TOPS at 9.76 TOPS/W, 64 cores of 256 x 256 cells, two operations a
  # cell. A cell has four devices (8T4R): two pairs.
  core = (energy.Layer(256, 256, num_devices=2, num_tiles=1),)
  operations = 2 * 256 * 256
  assert energy.product_nJ(energy.Prices(), core) == pytest.approx(
      operations / 9.76e12 * 1e9, rel=0.01)
  assert energy.products_ms(energy.Prices(), core, 1) == pytest.approx(
      64 * operations / 63.1e12 * 1e3, rel=0.01)


@given(amounts, amounts, amounts)
def test_the_account_adds_up_and_is_linear_in_counts(sets, resets, reads):
  prices = energy.Prices()
  counts = energy.Counts(sets, resets, reads)
  twice = energy.Counts(2 * sets, 2 * resets, 2 * reads)
  none = energy.Counts(0, 0, 0)
  account = lambda program, adaptation: energy.account(
      prices, LAYERS, PLAN, program, adaptation, NO_OPERATIONS, 5.0)
  out = account(counts, twice)
  for kind, unit in (('energy', 'nJ'), ('latency', 'ms')):
    part = out[kind]
    sample = part[f'inference_{unit}_per_sample']
    write = part[f'adaptation_write_{unit}']
    np.testing.assert_allclose(
        part[f'adaptation_{unit}'], write + 20 * sample, rtol=1e-12)
    np.testing.assert_allclose(
        write, 2 * part[f'program_{unit}'], rtol=1e-12, atol=1e-12)
    assert account(none, none)[kind][f'program_{unit}'] == 0
    assert sample > 0


def test_every_price_changes_the_account():
  counts = energy.program_counts(energy.Prices(), 1000)

  def account(prices):
    return energy.account(prices, LAYERS, PLAN,
                          energy.program_counts(prices, 1000), counts,
                          energy.Operations(10.0, 10.0, 10.0), 5.0)

  before = account(energy.Prices())
  for field, value in energy.Prices()._asdict().items():
    changed = energy.Prices()._replace(**{field: 1.1 * value})
    assert account(changed) != before, field


def test_the_default_prices_are_those_of_their_sources():
  # Written a second time on purpose: a number that changes must fail a test.
  prices = energy.Prices()
  # NVSim's cell: 150 uA for 150 ns through 1 kOhm, and 0.3 V of access drop.
  current_A, pulse_s, on_ohm, drop_V = 150e-6, 150e-9, 1e3, 0.3
  set_J = current_A**2 * on_ohm * pulse_s + current_A * drop_V * pulse_s
  assert prices.set_pJ == pytest.approx(set_J * 1e12, rel=0.02)
  current_A, pulse_s = 300e-6, 40e-9
  reset_J = current_A**2 * on_ohm * pulse_s + current_A * drop_V * pulse_s
  assert prices.reset_pJ == pytest.approx(reset_J * 1e12, rel=0.02)
  assert prices.read_fJ_per_uS == pytest.approx(0.2**2 * 1e-6 * 250e-9 * 1e15)
  assert (prices.set_ns, prices.reset_ns, prices.read_ns) == (150, 40, 250)
  assert (prices.program_pulses, prices.program_reads) == (20, 20)
  assert prices.parallel_writes == 1
  # Horowitz, 2014: to multiply, to add, half an access of 64 bits.
  assert prices.digital_pJ == pytest.approx(3.7 + 0.9 + 10.0 / 2)


def test_digital_work_is_part_of_the_energy_and_given_by_itself():
  prices, none = energy.Prices(digital_pJ=2.0), energy.Counts(0, 0, 0)
  account = lambda operations: energy.account(
      prices, LAYERS, PLAN._replace(num_events=3), none, none, operations,
      5.0)['energy']
  out = account(energy.Operations(program=500, sample=7, adaptation=11_000))
  without = account(NO_OPERATIONS)
  parts = {'program': 1.0, 'adaptation': 2e-3 * (11_000 + 3 * 20 * 7)}
  for name, digital_nJ in parts.items():
    assert out[f'{name}_digital_nJ'] == pytest.approx(digital_nJ)
    assert out[f'{name}_nJ'] - without[f'{name}_nJ'] == pytest.approx(
        digital_nJ)
  assert out['inference_digital_nJ_per_sample'] == pytest.approx(0.014)
  assert out['inference_nJ_per_sample'] - without[
      'inference_nJ_per_sample'] == pytest.approx(0.014)
  assert out['adaptation_write_nJ'] == without['adaptation_write_nJ']


def test_measurements_of_drift_and_waits_are_counted():
  prices, none = energy.Prices(), energy.Counts(0, 0, 0)
  account = lambda **changes: energy.account(
      prices, LAYERS, PLAN._replace(**changes), none, none, NO_OPERATIONS, 5.0)
  without = account(num_events=3)
  out = account(num_events=3, probe_products=128, program_products=1000,
                program_wait_s=25.0, event_wait_s=2.0)
  pairs = 4 * (2 * 40 + 41 * 40 + 41)
  probe = 128 * pairs * prices.mac_pJ * 1e-3
  again = 128 * 4 * 41 * prices.mac_pJ * 1e-3  # of the output layer
  assert out['energy']['calibration_nJ'] == pytest.approx(probe)
  assert out['energy']['adaptation_nJ'] - without['energy'][
      'adaptation_nJ'] == pytest.approx(3 * (probe + again))
  assert out['energy']['program_nJ'] - without['energy'][
      'program_nJ'] == pytest.approx(1000 * pairs * prices.mac_pJ * 1e-3)
  probe_ms = 1e-6 * prices.product_ns * 128
  assert out['latency']['adaptation_ms'] - without['latency'][
      'adaptation_ms'] == pytest.approx(3 * (3 * probe_ms + probe_ms))
  assert out['latency']['program_ms'] == pytest.approx(
      1000 * 3e-6 * prices.product_ns)
  assert out['latency']['program_wait_ms'] == pytest.approx(25000.0)
  assert out['latency']['adaptation_wait_ms'] == pytest.approx(6000.0)
