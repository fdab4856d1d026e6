"""Console command `meta-analog`, and what the scripts in launch/ call.

The modules of a command are imported when it is chosen, so that help is quick.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import difflib
import os
import pathlib
import sys
from typing import Any
from typing import NamedTuple

import meta_analog
from meta_analog.runtime import signals


class Command(NamedTuple):
  """One command.

  Attributes:
    summary: a line for the list of commands.
    text: examples, and what it writes.
    define: adds the command's flags to a `flags.FlagValues`.
    run: receives the parsed command line.
    all_cores: whether every core is a device of jax.
    default: name of the config where none is given.
  """

  summary: str
  text: str
  define: Callable[[Any], None]
  run: Callable[[Any], None]
  all_cores: bool = True
  default: str | None = None


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command that the first argument names; never returns.

  Args:
    argv: arguments, without the program's name; those of this process where it
      is None.
  """
  signals.open_streams()
  argv = list(sys.argv[1:] if argv is None else argv)
  if not argv or argv[0] in ('--help', '-h', '-help', 'help'):
    _show(_help(), 0 if argv else 2)
  if argv[0] == '--version':
    _show(f'meta-analog {meta_analog.__version__}')
  name, *rest = argv
  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    print(f'error: there is no command {name!r}: ' + (
        f'did you mean {near[0]}?' if near else
        f'must be one of {", ".join(COMMANDS)}'), file=sys.stderr)
    sys.exit(2)
  _start(name, COMMANDS[name], rest)


def _start(name, command, argv):
  """Parses a command's arguments and runs it."""
  from absl import flags

  from meta_analog.experiment import command_line
  from meta_analog.runtime import compilation
  from meta_analog.runtime import environment
  values = flags.FlagValues()
  command_line.define(values)
  command.define(values)
  if {'--help', '-h', '-help'} & {*argv}:
    _show(f'{command.summary}.\n\n{command.text}\n\nFlags:\n'
          f'{command_line.flags_help(values)}')
  compilation.tune()  # before a config file may use jax
  environment.stay_in_float32()
  if command.all_cores:
    environment.use_all_cores()
  command_line.start(argv, values, command.run, default=command.default)


def _show(text, code=0):
  """Prints a text and ends the process, also where its reader has left."""
  with contextlib.suppress(OSError):
    print(text)
  signals.exit_process(code)


def _help():
  width = max(map(len, COMMANDS)) + 2
  rows = '\n'.join(f'  {name:{width}}{command.summary}'
                   for name, command in COMMANDS.items())
  return (f'{meta_analog.__doc__.splitlines()[0]}\n\n'
          f'  meta-analog COMMAND [--FLAG=VALUE ...]\n\n{rows}\n\n'
          'meta-analog COMMAND --help explains a command and lists its flags.\n'
          'Exit codes: 0 done, 1 the disk failed or a file is damaged, 2 a\n'
          'mistake in what was written, 3 a number is not finite, 128 + n\n'
          'stopped by signal n.')


def _define_train(values):
  from meta_analog.experiment import command_line
  from meta_analog.experiment import run
  command_line.define_run(values, run.MODES, 'train')


def _define_evaluate(values):
  from meta_analog.experiment import command_line
  from meta_analog.experiment import run
  modes = tuple(mode for mode in run.MODES if mode != 'train')
  command_line.define_run(values, modes, 'evaluate')


def _run(arguments):
  """Trains, evaluates or reproduces one run."""
  from meta_analog.experiment import command_line
  from meta_analog.experiment import run
  from meta_analog.runtime import compilation
  from meta_analog.runtime import environment
  values, stop = arguments.flags, command_line.STOP
  compilation.set_up(values.cache_dir, print)
  command_line.connect(arguments)
  environment.check_devices()
  run.run(
      arguments.config, arguments.workdir, values.mode,
      source=arguments.source, overrides=arguments.record, wandb=values.wandb,
      stop=stop)


def _characterize(arguments):
  from meta_analog.evaluation import characterization
  from meta_analog.runtime import compilation
  from meta_analog.runtime import environment
  compilation.set_up(arguments.flags.cache_dir, print)
  environment.check_devices()
  config = arguments.config
  name = config.get('device', 'device')
  characterization.run(config, arguments.flags.workdir or os.path.join(
      'runs', f'{name}_characterization'))


def _define_study(values):
  from absl import flags
  flags.DEFINE_list(
      'seeds', None, 'Seeds of every row; by default those of the study, or '
      'that of the run', flag_values=values)
  flags.DEFINE_multi_string(
      'axis', [], 'FIELD=VALUE,VALUE: a row for each value of a field of a '
      "run's config; several axes give every combination", flag_values=values)
  flags.DEFINE_string(
      'source', '', 'Run, or .npz file, whose networks are evaluated along the '
      'axes; by default the config is trained first', flag_values=values)
  flags.DEFINE_bool('train_anew', False, 'Train at each value of the axes',
                    flag_values=values)
  flags.DEFINE_bool('vmap', False, 'Train the seeds of a row in one step',
                    flag_values=values)
  flags.DEFINE_integer(
      'processes', 1, 'Processes at once, which share the cores', lower_bound=1,
      flag_values=values)
  flags.DEFINE_string(
      'scheduler', '', 'HOST:PORT of a dask scheduler, whose workers run the '
      'processes; --workdir lies where all of them see it', flag_values=values)


def _study(arguments):
  from meta_analog.experiment import command_line
  from meta_analog.runtime import environment
  from meta_analog.studies import axes
  from meta_analog.studies import plan
  from meta_analog.studies import study
  environment.stay_on_cpu()
  values, folder = arguments.flags, pathlib.Path(arguments.workdir)
  study.run(
      plan.make(arguments.config, folder, arguments.record,
                plan.seeds_of(values.seeds), axes.parse(values.axis),
                values.source, train_anew=values.train_anew),
      folder, study.Options(values.processes, values.scheduler, values.vmap,
                            values.cache_dir), stop=command_line.STOP)


def _define_benchmark(values):
  from absl import flags
  flags.DEFINE_bool('quick', False, 'Fewer tasks, points and repetitions',
                    flag_values=values)


def _benchmark(arguments):
  from meta_analog.benchmarks import suite
  from meta_analog.runtime import compilation
  from meta_analog.runtime import environment
  compilation.set_up(arguments.flags.cache_dir, print)
  environment.check_devices()
  suite.run(
      arguments.config,
      arguments.flags.workdir or os.path.join('runs', 'benchmark'),
      arguments.flags.quick)


COMMANDS = {
    'train': Command(
        'Meta-trains, tests and draws one config', '''\
  meta-analog train --config pcm
  meta-analog train --config pcm:closed_loop,tiny --config.seed=3
  meta-analog train --config my/net.py --workdir runs/mine

The same command resumes a run that was interrupted, and prints the summary of a
finished one. Written to --workdir: config.json, run.json, summary.json,
parameters.npz, evaluation.npz, chip.npz, metrics.jsonl, tensorboard,
checkpoints, figures.''',
        _define_train, _run),
    'evaluate': Command(
        'Evaluates a trained network, also under other conditions', '''\
  meta-analog evaluate --workdir runs/pcm
  meta-analog evaluate --source runs/pcm --workdir runs/pcm_noisy \\
      --config.evaluation.noise_scale=2
  meta-analog evaluate --config omniglot --source FILE.npz
  meta-analog evaluate --mode=energy --workdir runs/pcm
  meta-analog evaluate --mode=reproduce --workdir runs/pcm

The run in --workdir is evaluated into evaluation.json there, evaluation_2.json
and so on; a --source into config.json, evaluation.npz and summary.json of
--workdir. Without --config the config is that of the run. --mode=energy
compares ways to write a run's adaptation; --mode=reproduce computes the step
again that was not finite and says where it fails.''',
        _define_evaluate, _run),
    'characterize': Command(
        "Measures a config's device on 100,000 simulated devices", '''\
  meta-analog characterize --config pcm
  meta-analog characterize --config pcm --config.device=ideal

Written to --workdir, by default runs/<device>_characterization:
characterization.json and characterization.png.''',
        lambda values: None, _characterize, all_cores=False),
    'study': Command(
        'Runs rows of configs times seeds, into one table', '''\
  meta-analog study --config studies/sinusoid
  meta-analog study --config studies/sinusoid:pcm,perf --processes 2
  meta-analog study --config pcm --seeds 0,1,2 --vmap
  meta-analog study --config pcm --axis periphery.adc_bits=3,4,6,8

The config is that of a study, or of a run, which is then the only row, or has a
row for each value of an --axis. After every run table.md, table.json, table.png
and, of axes, axis.png are written to --workdir, by default runs/<config>. The
same command resumes where it was stopped.''',
        _define_study, _study, all_cores=False),
    'benchmark': Command(
        'Measures how fast this machine trains, beside other code', '''\
  meta-analog benchmark --quick
  meta-analog benchmark --workdir runs/benchmark

Written to --workdir, by default runs/benchmark: benchmark.json.''',
        _define_benchmark, _benchmark, default='pcm'),
}

if __name__ == '__main__':
  main()
