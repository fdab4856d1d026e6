"""Settings of every test: strict shapes and keys, precision, hypothesis."""

import atexit
from importlib import metadata
import os
import shutil
import tempfile

# Tests compile much and compute little. jaxlib 0.12 knows no other emitters,
# and an unknown flag ends the process.
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_backend_optimization_level=0'
    + ' --xla_cpu_use_fusion_emitters=false' * metadata.version(
        'jaxlib').startswith('0.10.'))

import hypothesis
import jax

from meta_analog.runtime import compilation

compilation.tune()
compilation.collect_less()
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  # Tests make the same programs again and again, each from new functions. A
  # folder of each process, for no two may write one file at once.
  _programs = tempfile.mkdtemp(prefix='programs_')
  atexit.register(shutil.rmtree, _programs, ignore_errors=True)
  jax.config.update('jax_compilation_cache_dir', _programs)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)
# Of the tests' own products: a GPU rounds their factors (see `linalg`).
jax.config.update('jax_default_matmul_precision', 'highest')

hypothesis.settings.register_profile(
    'default', deadline=None, derandomize=True, max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(
    'random', deadline=None, max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile(
    os.environ.get('HYPOTHESIS_PROFILE', 'default'))
