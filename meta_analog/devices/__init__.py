"""Memory technologies, each a `types.Device`: one file per model."""
