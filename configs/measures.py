"""What each measure that the configs take is worth: rows with it left out.

    python launch/sweep.py --config configs/measures.py --workdir runs/measures

On seed 10, which is in no other table; one training a row, so that chance has a
part in each. The first row of each group is the config as it stands.
"""

import ml_collections

from meta_analog import grid_rows

trained, tested = grid_rows.trained, grid_rows.tested
PCM = 'one event on phase-change memory'
PERF = 'performance mode, 2 bits, one event'

ROWS = (
    trained('pcm', PCM, 'as it stands', 'pcm'),
    trained('nearest', PCM, 'every weight rounded by itself', 'pcm',
            {'adapt.encoding': 'nearest'}),
    trained('harmless', PCM, 'levels chosen as if pulses had no noise', 'pcm',
            {'init.harm': 1e-6}),
    trained('one_current', PCM, 'x as one current', 'pcm',
            {'network.input_channels': 1}),
    trained('no_ramp', PCM, 'all of the noise from the first step', 'pcm',
            {'training.noise_full': 0.0}),
    trained('earlier', PCM, 'meta-trained for 151 s instead of 251 s', 'pcm',
            {'training.t_query_s': 151.0}),
    trained('six_bits', PCM, 'up to 31 pulses instead of 15', 'pcm',
            {'adapt.update_bits': 6}),
    tested('verified', 'the same nets, each weight verified', 'pcm',
           {'adapt.write': 'verified'}, group=PCM),
    trained('perf', PERF, 'as it stands', 'perf'),
    trained('perf_nearest', PERF, 'every weight rounded by itself', 'perf',
            {'adapt.encoding': 'nearest'}),
    trained('perf_one_current', PERF, 'x as one current', 'perf',
            {'network.input_channels': 1}),
)
TINY = {'training.num_steps': 2, 'evaluation.num_tasks': 8,
        'evaluation.num_chips': 2, 'evaluation.ordinary_steps': 2}


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config of the grid.

  Args:
    argument: comma-separated names of rows, all where there are none; and
      'tiny', which makes them small.

  Returns:
    A locked `ConfigDict`, see configs/rules.py.

  Raises:
    ValueError: if a row is unknown.
  """
  words = [word for word in argument.split(',') if word]
  c = ml_collections.ConfigDict()
  c.seeds = (10,)
  c.times_s = (251.0, 86400.0, 2592000.0, 31536000.0)
  rows = grid_rows.chosen(ROWS, [word for word in words if word != 'tiny'])
  c.cases = tuple(
      grid_rows.tiny(row, TINY) if 'tiny' in words else row for row in rows)
  c.references = ()
  return c.lock()
