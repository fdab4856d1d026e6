"""Models of memory devices, each a `types.Device`."""
