"""Meta-training of spiking networks through analog in-memory hardware.

A spiking network whose weights lie on simulated crossbars of memory devices is
meta-trained, through their noise, drift and pulses, to adapt to a new task by a
few writes of devices.

    import meta_analog as ma

    run = ma.train(ma.get_config('pcm:tiny'), 'runs/tiny')
    run = ma.load('runs/tiny')
    run.summary, run.metrics['loss'], run.evaluation, run.params

Every name below is imported when it is first used, so that importing the
package costs nothing and starts no backend of jax.
"""

import importlib
from typing import TYPE_CHECKING
from typing import Any

__version__ = '0.2.0'

if TYPE_CHECKING:  # as in _NAMES; a test compares the two
  from meta_analog import benchmarks as benchmarks
  from meta_analog import config as config
  from meta_analog import core as core
  from meta_analog import crossbar as crossbar
  from meta_analog import devices as devices
  from meta_analog import evaluation as evaluation
  from meta_analog import experiment as experiment
  from meta_analog import learning as learning
  from meta_analog import networks as networks
  from meta_analog import programming as programming
  from meta_analog import reporting as reporting
  from meta_analog import runtime as runtime
  from meta_analog import studies as studies
  from meta_analog import tasks as tasks
  from meta_analog import testing as testing
  from meta_analog import training as training
  from meta_analog.config.build import build as build
  from meta_analog.config.config_files import load as get_config
  from meta_analog.config.defaults import get_config as default_config
  from meta_analog.core.errors import InputError as InputError
  from meta_analog.core.types import Device as Device
  from meta_analog.core.types import Episode as Episode
  from meta_analog.core.types import Learner as Learner
  from meta_analog.core.types import Samples as Samples
  from meta_analog.core.types import Task as Task
  from meta_analog.crossbar.array import Crossbar as Crossbar
  from meta_analog.crossbar.periphery import Periphery as Periphery
  from meta_analog.devices.hermes import HermesParams as HermesParams
  from meta_analog.devices.ideal import IdealParams as IdealParams
  from meta_analog.devices.pcm import PCMParams as PCMParams
  from meta_analog.devices.pcm_like import PCMLikeParams as PCMLikeParams
  from meta_analog.devices.registry import make as make_device
  from meta_analog.devices.reram import ReRamParams as ReRamParams
  from meta_analog.devices.reram_es import ReRamESParams as ReRamESParams
  from meta_analog.experiment.api import Run as Run
  from meta_analog.experiment.api import evaluate as evaluate
  from meta_analog.experiment.api import load as load
  from meta_analog.experiment.api import train as train
  from meta_analog.learning.learner import make as make_learner
  from meta_analog.learning.maml import adapt as adapt
  from meta_analog.learning.maml import meta_loss as meta_loss
  from meta_analog.learning.plasticity import delta_rule as delta_rule
  from meta_analog.learning.plasticity import ridge as ridge
  from meta_analog.networks.lif import step as lif_step
  from meta_analog.networks.lif import unroll as lif_unroll
  from meta_analog.networks.modules import CrossbarLinear as CrossbarLinear
  from meta_analog.networks.modules import LIFCore as LIFCore
  from meta_analog.programming.program_verify import (
    program_and_verify as program_and_verify,
  )
  from meta_analog.programming.verify_options import (
    VerifyOptions as VerifyOptions,
  )
  from meta_analog.tasks.registry import make as make_task

_MODULES = (
    'core', 'runtime', 'devices', 'crossbar', 'reporting', 'tasks',
    'programming', 'networks', 'learning', 'config', 'training', 'evaluation',
    'experiment', 'benchmarks', 'studies', 'testing')

# Name here: module, and the name there where it is another.
_NAMES = {
    # Contracts
    'Device': 'core.types',
    'Learner': 'core.types',
    'Task': 'core.types',
    'Episode': 'core.types',
    'Samples': 'core.types',
    'InputError': 'core.errors',
    # Devices and tasks
    'make_device': 'devices.registry:make',
    'PCMParams': 'devices.pcm',
    'PCMLikeParams': 'devices.pcm_like',
    'HermesParams': 'devices.hermes',
    'ReRamParams': 'devices.reram',
    'ReRamESParams': 'devices.reram_es',
    'IdealParams': 'devices.ideal',
    'make_task': 'tasks.registry:make',
    # Crossbars and how they are programmed
    'Crossbar': 'crossbar.array',
    'Periphery': 'crossbar.periphery',
    'program_and_verify': 'programming.program_verify',
    'VerifyOptions': 'programming.verify_options',
    # Networks
    'lif_step': 'networks.lif:step',
    'lif_unroll': 'networks.lif:unroll',
    'CrossbarLinear': 'networks.modules',
    'LIFCore': 'networks.modules',
    # Learning
    'delta_rule': 'learning.plasticity',
    'ridge': 'learning.plasticity',
    'make_learner': 'learning.learner:make',
    'adapt': 'learning.maml',
    'meta_loss': 'learning.maml',
    # Runs
    'default_config': 'config.defaults:get_config',
    'get_config': 'config.config_files:load',
    'build': 'config.build',
    'train': 'experiment.api',
    'evaluate': 'experiment.api',
    'load': 'experiment.api',
    'Run': 'experiment.api',
}

__all__ = ['__version__', *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used."""
  if name in _MODULES:
    return importlib.import_module(f'{__name__}.{name}')
  if name not in _NAMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  module, _, there = _NAMES[name].partition(':')
  value = getattr(importlib.import_module(f'{__name__}.{module}'),
                  there or name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  """Returns the public names, imported or not."""
  return sorted({*globals(), *__all__})
