"""The results table: every rule, device and baseline, on three seeds.

    python launch/sweep.py --config configs/rules.py --workdir runs/rules
    python launch/sweep.py --config configs/rules.py:pcm,pcm_untrained
    python launch/sweep.py --config configs/rules.py:tiny

A row is a line of ROWS. `trained` rows are trained from a config; `tested` rows
test the nets of a trained row again, which takes a minute and no training.
"""

import difflib

import ml_collections

PCM, PERF, AGAIN = ('phase-change memory', 'performance mode',
                    'the same nets, tested otherwise')


def trained(name, group, label, config, overrides=None, wanted=None):
  """Returns a row that is trained.

  Args:
    name: of its folder.
    group: of rows in the table and the figure.
    label: in the table.
    config: 'pcm:one_device' is configs/pcm.py:one_device.
    overrides: {field: value}, as on the command line.
    wanted: {seconds of the test, in digits: score that was aimed at}.
  """
  path, _, argument = config.partition(':')
  return {'name': name, 'group': group, 'label': label,
          'config': ':'.join(filter(None, [f'configs/{path}.py', argument])),
          'overrides': overrides or {}, 'wanted': wanted or {}}


def tested(name, label, of, overrides=None, wanted=None, params='trained'):
  """Returns a row that tests the nets of a trained row again.

  Args:
    name: of its folder.
    label: in the table.
    of: name of the trained row.
    overrides: {field: value}, of the test.
    wanted: see `trained`.
    params: 'trained', or 'initial': those before meta-training.
  """
  return {'name': name, 'group': AGAIN, 'label': label, 'of': of,
          'overrides': overrides or {}, 'wanted': wanted or {},
          'params': params}


ROWS = (
    trained('pcm', PCM, 'one event of blind pulses, 4 devices', 'pcm',
            wanted={'251': 0.15}),
    trained('pcm_one_device', PCM, 'the same, 1 device', 'pcm:one_device'),
    trained('pcm_single_pulse', PCM, "the original's rule: one pulse",
            'pcm:single_pulse', wanted={'251': 1.1}),
    trained('pcm_three_events', PCM, 'three events, measured on the array',
            'pcm:three_events'),
    trained('pcm_all_layers', PCM, 'MAML over all layers, second order',
            'pcm:all_layers'),
    trained('pcm_first_order', PCM, 'MAML over all layers, first order',
            'pcm:all_layers_first_order'),
    trained('perf', PERF, '2 bits, one event', 'perf', wanted={'251': 0.04}),
    trained('perf_four_events', PERF, '2 bits, four events',
            'perf:four_events', wanted={'251': 0.01}),
    tested('pcm_frozen_reads', 'one event, read noise frozen', 'pcm',
           {'crossbar.fresh_read_share': 0.0}),
    tested('pcm_fresh_reads', 'one event, read noise fresh at every step',
           'pcm', {'crossbar.fresh_read_share': 1.0}),
    tested('pcm_untrained', 'one event, no meta-training', 'pcm',
           params='initial'),
)

# Sinusoids of amplitude 0.1 to 5. Only numbers that were read at their source,
# or computed for this project apart from its code.
READ = 'as published, or quoted in published code'
COMPUTED = 'computed apart from this code'
REFERENCES = tuple(
    dict(zip(('method', 'K', 'adaptation', 'mse', 'source'), row)) for row in (
        ('predict 0', '-', 'none', '4.25', COMPUTED),
        ('predict the mean of all tasks', '-', 'none', '3.01', COMPUTED),
        ('any linear rule on perfect features, at best', '5 / 10 / 20',
         'one batch step, last layer', '0.426 / 0.234 / 0.123', COMPUTED),
        ('meta-analog as first published, PCM / performance mode', '20',
         '1 pulse', '3.0 / 1.1 (its own loss, over all time steps)', COMPUTED),
        ('MAML', '5 / 20', '1 / 10 steps, all layers', '0.60 / 0.043', READ),
        ('GP-VIB, Bayesian last layer', '5 / 20', 'closed form',
         '0.02 / 0.001', READ),
        ('float network 40-40, last layer written in steps, no noise', '20',
         '1 write of 3 / 7 / 15 levels', '0.18 / 0.033 / 0.009', COMPUTED),
        ('float network 40-40, last layer on PCM', '20',
         '1 write of at most 3 / 7 pulses', '0.31 / 0.22', COMPUTED),
        ('spiking network 1-40-40-1, ridge regression, float', '20',
         'closed form', '0.002', COMPUTED),
    ))

# Makes every row run in seconds, to see that all of it works: no result.
TINY = {'training.num_steps': 2, 'evaluation.num_tasks': 8,
        'evaluation.num_chips': 2, 'evaluation.ordinary_steps': 2}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config of the grid.

  Args:
    argument: comma-separated names of rows, all where there are none; and
      'tiny', which makes them small and leaves two seeds.

  Returns:
    A locked `ConfigDict`: seeds; cases, with what those that are tested are of;
    times_s, of the table's columns after adaptation, the main one first;
    references, the numbers of others.

  Raises:
    ValueError: if a row is unknown.
  """
  words = [word for word in argument.split(',') if word]
  tiny = 'tiny' in words
  c = ml_collections.ConfigDict()
  c.seeds = (0, 1) if tiny else (0, 1, 2)
  c.times_s = (251.0, 86400.0, 2592000.0, 31536000.0)
  c.cases = tuple(_tiny(row) if tiny else row for row in _chosen(
      [word for word in words if word != 'tiny']))
  c.references = REFERENCES
  return c.lock()


def _chosen(names):
  """Returns the rows of these names and those that they are of."""
  rows = {row['name']: row for row in ROWS}
  for name in names:
    if name not in rows:
      near = difflib.get_close_matches(name, rows, 1)
      raise ValueError(
          f'config argument {name!r}: ' + (
              f'did you mean {near[0]!r}?' if near else
              f'must be tiny or one of {", ".join(rows)}'))
  wanted = {*names} | {rows[name].get('of', name) for name in names}
  return [row for row in ROWS if not names or row['name'] in wanted]


def _tiny(row):
  """Returns a row in its tiny form."""
  if 'of' in row:
    return row
  path, _, argument = row['config'].partition(':')
  return row | {
      'config': f'{path}:{",".join(filter(None, [argument, "tiny"]))}',
      'wanted': {}, 'overrides': row['overrides'] | TINY}
