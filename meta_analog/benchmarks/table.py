"""Table of the benchmark: measured numbers beside required ones."""

import math
from typing import Any
from typing import NamedTuple

import rich.table


class Target(NamedTuple):
  """A required number of benchmark.json."""

  path: str
  at_most: float = math.inf
  at_least: float = -math.inf


# For 2 CPU cores; on other machines they are for comparison.
TARGETS = (
    Target('cases.meta_step.ratio', at_least=3.0),
    Target('cases.meta_step.fraction_of_matmul_rate', at_least=0.35),
    Target('cases.meta_step.compile_s', at_most=20.0),
    Target('cases.meta_step.peak_memory_bytes', at_most=1.5e9),
    Target('cases.meta_step_noisy.ratio', at_least=2.0),
    Target('cases.meta_step_noisy.noise_cost', at_most=1.0),
    Target('cases.lif.ratio', at_least=2.0),
    Target('cases.lif.peers.snntorch.ratio', at_least=1.0),
    Target('cases.lif.peers.norse.ratio', at_least=1.0),
    Target('cases.lif.peers.spyx.ratio', at_least=1.0),
    Target('curves.tasks.slope', at_most=1.05),
    Target('curves.time_steps.slope', at_most=1.05),
    Target('curves.width.slope', at_most=2.05),
    Target('curves.inner_steps.slope', at_most=1.05),
    Target('curves.chips.slope', at_most=1.05),
    Target('cases.evaluation.ours_s', at_most=20.0),
    Target('cases.start.cold_s', at_most=20.0),
    Target('cases.start.warm_s', at_most=3.0),
)
HIDDEN = ('size', 'tasks', 'steps', 'operations', 'width')


def find(out: dict[str, Any], path: str) -> Any:
  """Returns the value at a dotted path, or None where there is none."""
  for name in path.split('.'):
    if not isinstance(out, dict):
      return None
    out = out.get(name)
  return out


def targets(out: dict[str, Any]) -> dict[str, dict[str, Any]]:
  """Returns which of TARGETS are met: {path: value, wanted, met}.

  A number that was not measured has no entry.
  """
  found = {}
  for target in TARGETS:
    value = find(out, target.path)
    if value is not None:
      found[target.path] = {
          'value': value, 'wanted': _in_words(target),
          'met': bool(target.at_least <= value <= target.at_most)}
  return found


def table(out: dict[str, Any]) -> rich.table.Table:
  """Returns the table of benchmark.json."""
  machine = out['machine']
  made = rich.table.Table(title=(
      f'{out["config"]} on {machine["devices"]} x '
      f'{", ".join(machine["device_kinds"])}, {machine["cores"]} cores of '
      f'{machine["cpu"]}, jax {machine["jax"]}'))
  for name in ('case', 'quantity', 'measured', 'required', ''):
    made.add_column(name, justify='right' if name == 'measured' else 'left')
  required = out['targets']

  def row(case, name, path, value):
    found = required.get(path)
    verdict = '' if found is None else 'met' if found['met'] else 'NOT met'
    made.add_row(case, name, _number(value), found and found['wanted'],
                 verdict)

  for case, values in out['cases'].items():
    made.add_section()
    label = f'{case}, {values["tasks"]} tasks' if 'tasks' in values else case
    for path, value in _flat(values, f'cases.{case}'):
      row(label, path.removeprefix(f'cases.{case}.'), path, value)
      label = ''
  made.add_section()
  for axis, curve in out['curves'].items():
    span = f'{curve["values"][0]} to {curve["values"][-1]}'
    row(f'cost over {axis}', f'slope, {span}, {curve["device"]}',
        f'curves.{axis}.slope', curve['slope'])
  missing = [
      name for name in ('meta_step_ridge', 'evaluation', 'ensemble', 'start')
      if name not in out['cases']]
  notes = []
  if missing:
    notes.append(f'Not measured in a quick run: {", ".join(missing)}.')
  if machine['platform'] != 'cpu':
    notes.append('Requirements are those of two CPU cores. snnTorch and '
                 'Norse run on the CPU.')
  made.caption = ' '.join(notes) or None
  return made


def _flat(values, path):
  """Yields (dotted path, value) of the numbers that the table shows."""
  for name, value in values.items():
    if isinstance(value, dict) and name not in HIDDEN:
      yield from _flat(value, f'{path}.{name}')
    elif not isinstance(value, (bool, list, dict)) and name not in HIDDEN:
      yield f'{path}.{name}', value


def _in_words(target):
  if target.at_least > -math.inf:
    return f'at least {target.at_least:g}'
  return f'at most {target.at_most:g}'


def _number(value):
  return f'{value:.3g}' if isinstance(value, float) else str(value)
