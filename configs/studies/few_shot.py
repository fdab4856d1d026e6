"""Few-shot classification: Omniglot and Double N-MNIST, float against devices.

    python launch/study.py --config configs/studies/few_shot.py \\
        --workdir runs/few_shot
    python launch/study.py \\
        --config configs/studies/few_shot.py:omniglot_5way1shot_pcm
    python launch/study.py --config configs/studies/few_shot.py:tiny

A trained row takes 5 minutes (5-way) to 14 (20-way, N-MNIST) on one of two busy
cores, with three events longer, an evaluated one 3 to 8.

Every `trained` row has hidden layers of its own, which are meta-trained for its
devices; all of a data set begin with the same, pretrained in float. An
`evaluated` row tests the nets of a trained row under other conditions.
"""

import ml_collections

from meta_analog.studies import rows

trained, evaluated = rows.trained, rows.evaluated
# (config, variant), the group in the table, and the accuracy that is required
# of PCM at 251 s.
KINDS = (
    (('omniglot', '5way1shot'), 'Omniglot, 5-way 1-shot', 0.95),
    (('omniglot', '5way5shot'), 'Omniglot, 5-way 5-shot', 0.98),
    (('omniglot', '20way1shot'), 'Omniglot, 20-way 1-shot', 0.88),
    (('nmnist', '5way1shot'), 'Double N-MNIST, 5-way 1-shot', 0.93),
)
# What main.py leaves as pretrained.npz; other rows begin as their config says.
PRETRAINED = {'omniglot': 'configs/pretrained/omniglot_float.npz',
              'nmnist': 'configs/pretrained/nmnist_float.npz'}
# (end of the name, label, variant of the config); PCM itself is none.
DEVICES = (
    ('float', 'float', 'float'),
    ('two_bits', 'performance mode, 2 bits', 'two_bits'),
    ('four_bits', 'performance mode, 4 bits', 'four_bits'),
    ('pcm', 'PCM, one event of blind pulses', ''),
    ('closed_loop', 'PCM, three events, measured on the array', 'closed_loop'),
)


def _begin(path):
  """Returns the overrides by which a row begins with pretrained layers."""
  return {'training.begin_with': PRETRAINED[path],
          'training.pretrain_steps': 0}


def _rows():
  """Yields the rows of every kind on every device."""
  for (path, variant), group, required in KINDS:
    for name, label, device in DEVICES:
      yield trained(
          f'{path}_{variant}_{name}', group, label,
          f'{path}:{",".join(filter(None, [variant, device]))}', _begin(path),
          required={'251': required} if name == 'pcm' else {})
    for name in ('pcm', 'closed_loop'):
      label = dict((end, label) for end, label, _ in DEVICES)[name]
      yield evaluated(
          f'{path}_{variant}_{name}_drift_left', f'{label}, drift left',
          f'{path}_{variant}_{name}', {'crossbar.drift_compensation': 'none'},
          group=group)


ROWS = tuple(_rows())
REFERENCES = tuple(
    dict(zip(('method', 'Omniglot, 5-way 1-shot', '5-way 5-shot',
              '20-way 1-shot', 'Double N-MNIST, 5-way 1-shot', 'source'), row))
    for row in (
        ('MAML, four convolutions in float', '0.987', '0.999', '0.958', '-',
         'as quoted in published code'),
        ('ANIL', '-', '-', '0.962', '-', 'as quoted in published code'),
        ('memory of PCM, its float reference (Karunaratne et al., 2021)',
         '0.974', '-', '-', '-', 'as published'),
        ('hashing on memristors, with device errors (Mao et al., 2022)',
         '0.976', '-', '-', '-', 'as published'),
        ('cosines on memristors (Zhou et al., 2023)', '0.973', '0.983', '-',
         '-', 'as published'),
        ('FeFET search memory', '-', '0.983', '-', '-', 'as published'),
        ('PCM chip, last layer in four steps (Ortner et al., 2025)', '-',
         'as in float', '-', '-', 'as published'),
        ('spiking MAML in float', '-', '-', '-', '0.974',
         'of its logs, on validation tasks'),
    ))


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config of the study; see `rows.config`."""
  return rows.config(
      argument, ROWS, seeds=(0,), times_s=(251.0, 86400.0, 2592000.0),
      references=REFERENCES,
      tiny_overrides={'training.begin_with': '', 'training.pretrain_steps': 2})
