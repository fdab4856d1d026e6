"""Conversion to float32, the type in which everything is computed.

It holds whatever a caller passes, and with 64 bits enabled in jax
(JAX_ENABLE_X64), where a Python number alone would become float64.
"""

from typing import Any

import jax
import jax.numpy as jnp


def float32(tree: Any) -> Any:
  """Returns a pytree whose numbers are float32.

  Args:
    tree: pytree of arrays and Python numbers of any real type, such as
      bfloat16, float16 or int32. Booleans and keys stay as they are, as does
      what is float32 already.
  """
  return jax.tree.map(_convert, tree)


def _convert(x):
  """Returns a leaf as float32, unless it is no number."""
  if isinstance(x, bool):
    return x
  dtype = getattr(x, 'dtype', jnp.int32)  # that of a Python number is no matter
  is_number = any(jnp.issubdtype(dtype, kind)
                  for kind in (jnp.floating, jnp.integer))
  return jnp.asarray(x, jnp.float32) if (
      is_number and dtype != jnp.float32) else x
