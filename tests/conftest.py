"""Settings of every test: strict shapes, no reused key, hypothesis profiles."""

import os

# Tests compile much and compute little.
os.environ['XLA_FLAGS'] = (os.environ.get('XLA_FLAGS', '')
                           + ' --xla_backend_optimization_level=0')

import hypothesis
import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)

hypothesis.settings.register_profile(
    'default', deadline=None, derandomize=True, max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(
    'random', deadline=None, max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile(
    os.environ.get('HYPOTHESIS_PROFILE', 'default'))
