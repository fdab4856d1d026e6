"""Settings of every test: strict shapes and keys, precision, hypothesis."""

from importlib import metadata
import os

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
