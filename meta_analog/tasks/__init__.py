"""Task families, each a `types.Task`: one file per family."""
