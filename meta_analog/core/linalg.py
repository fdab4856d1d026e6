"""Matrix products in full float32 precision on every backend.

By default, factors of a float32 product are rounded to 11 bits on NVIDIA GPUs
(TF32) and to 8 bits on TPUs (bfloat16), and conductances are such factors. With
these functions the loss of a training step on one H100 differed from that on a
CPU by less than 1e-6 instead of 2e-4, for 1.08 times the time; on a CPU the
bits are those of the defaults. Not tried on a TPU.
"""

import functools

import jax
import jax.numpy as jnp

PRECISION = jax.lax.Precision.HIGHEST

einsum = functools.partial(jnp.einsum, precision=PRECISION)
matmul = functools.partial(jnp.matmul, precision=PRECISION)
tensordot = functools.partial(jnp.tensordot, precision=PRECISION)
