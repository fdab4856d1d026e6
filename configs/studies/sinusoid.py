"""The results table: every rule, device and baseline, on three seeds.

    python launch/study.py --config configs/studies/sinusoid.py \\
        --workdir runs/sinusoid
    python launch/study.py --config configs/studies/sinusoid.py:pcm,untrained
    python launch/study.py --config configs/studies/sinusoid.py:tiny

A row is a line of ROWS. `trained` rows are trained from a config; `evaluated`
rows test the nets of a trained row again, which takes a minute and no training.
Choices were tried on seed 10, which is not in this table
(configs/studies/ablations.py).
"""

import ml_collections

from meta_analog.studies import rows as rows_lib

trained, evaluated = rows_lib.trained, rows_lib.evaluated
FLOAT, PERF, PCM = 'float', 'performance mode', 'phase-change memory'
MEMORY_1 = 'phase-change memory, pulse memory 1'
OTHER = 'other nets and rules on phase-change memory'
RETENTION = 'against drift'
ABLATION = 'sources of error, one by one'

MEMORY = {'device_params.pcm.pulse_memory_after_program': 1.0}
SOURCES = {'hidden_program': 'programming error of hidden layers',
           'hidden_read': 'read noise of hidden layers',
           'output_program': 'programming error of the output layer',
           'output_read': 'read noise of the output layer',
           'output_write': 'noise of the pulses',
           'drift_spread': 'spread of the drift'}
SILENT = {f'noise.{source}': 0.0 for source in SOURCES}
EXACT = {'periphery.dac_bits': 32, 'periphery.adc_bits': 32}
# The PCM rows, and each with a pulse memory that programming leaves alone, for
# which nets are trained (`_memory`) or not (`_unprepared`).
PCM_ROWS = (
    ('pcm', 'one event of blind pulses', 'pcm', {'251': 0.15}),
    ('one_device', 'one event, 1 device', 'pcm:one_device', {}),
    ('closed_loop', 'three events, measured on the array', 'pcm:closed_loop',
     {'251': 0.07, '86400': 0.12, '2592000': 0.22}),
    ('single_pulse', "the original's rule: one pulse", 'pcm:single_pulse',
     {'251': 1.1}),
)
# With pulse memory 1 these are tested only, not trained for it.
OTHER_ROWS = (
    ('rate', 'one event, rate-coded neurons', 'pcm',
     {'network.neuron': 'rate', 'training.rate_max_Hz': 1000.0}),
    ('direct', 'one event, x as one current', 'pcm',
     {'network.input_channels': 1}),
    ('delta', 'delta rule, last layer', 'pcm:delta', {}),
    ('all_layers', 'delta rule, all layers, second order', 'pcm:all_layers',
     {}),
)

ROWS = (
    trained('float', FLOAT, 'ridge regression, K = 20', 'float',
            required={'251': 0.005}),
    trained('float_ten_shot', FLOAT, 'ridge regression, K = 10',
            'float:ten_shot', required={'251': 0.02}),
    trained('float_five_shot', FLOAT, 'ridge regression, K = 5',
            'float:five_shot', required={'251': 0.10}),
    trained('perf', PERF, '2 bits, one event', 'perf', required={'251': 0.04}),
    trained('perf_four_events', PERF, '2 bits, four events',
            'perf:four_events', required={'251': 0.01}),
    *(trained(name, PCM, label, config, required=required)
      for name, label, config, required in PCM_ROWS),
    *(trained(f'{name}_memory', MEMORY_1, label, config, MEMORY, required)
      for name, label, config, required in PCM_ROWS),
    *(trained(name, OTHER, label, config, overrides)
      for name, label, config, overrides in OTHER_ROWS),
    *(evaluated(f'{name}{suffix}_{kind}', f'{label}{words}, reads {kind}',
                f'{name}{suffix}', {'crossbar.fresh_read_share': share})
      for suffix, words, rows in (
          ('', '', PCM_ROWS + OTHER_ROWS),
          ('_memory', ', pulse memory 1', PCM_ROWS))
      for name, label, *_ in rows
      for kind, share in (('frozen', 0.0), ('fresh', 1.0))),
    *(evaluated(f'{name}_unprepared', f'{label}, pulse memory 1 unforeseen',
                name, MEMORY)
      for name, label, *_ in PCM_ROWS + OTHER_ROWS),
    evaluated('untrained', 'one event, no meta-training', 'pcm',
              params='initial'),
    evaluated('untrained_closed_loop', 'three events, no meta-training',
              'closed_loop', params='initial'),
    *(evaluated(f'{name}_twice', f'{label}, twice the noise', name,
                {'evaluation.noise_scale': 2.0})
      for name, label in (('pcm', 'one event'),
                          ('rate', 'one event, rate-coded neurons'))),
    evaluated('rate_off_all', 'one event, rate-coded neurons, no source',
              'rate', SILENT | EXACT),
    evaluated('drift_left', 'three events, drift left', 'closed_loop',
              {'crossbar.drift_compensation': 'none'}, group=RETENTION),
    evaluated('drift_measured', 'three events, drift measured', 'closed_loop',
              {'crossbar.drift_compensation': 'global'}, group=RETENTION),
    evaluated('adapted_anew', 'three events, anew before each test',
              'closed_loop', {'evaluation.adapt_anew': 'before_each_test'},
              group=RETENTION),
    evaluated('off_all', 'one event, no source', 'pcm', SILENT | EXACT,
              group=ABLATION),
    *(evaluated(f'off_{source}', f'one event, without {words}', 'pcm',
                {f'noise.{source}': 0.0}, group=ABLATION)
      for source, words in SOURCES.items()),
    evaluated('off_converters', 'one event, without rounding by converters',
              'pcm', EXACT, group=ABLATION),
    *(evaluated(f'only_{source}', f'one event, {words} alone', 'pcm',
                SILENT | EXACT | {f'noise.{source}': 1.0}, group=ABLATION)
      for source, words in SOURCES.items()),
    evaluated('only_converters', 'one event, rounding by converters alone',
              'pcm', SILENT, group=ABLATION),
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


def get_config(argument: str = '') -> ml_collections.ConfigDict:
  """Returns the locked config of the study; see `rows.config`."""
  return rows_lib.config(
      argument, ROWS, seeds=(0, 1, 2), references=REFERENCES,
      times_s=(251.0, 151.0, 3600.0, 86400.0, 2592000.0, 31536000.0))
