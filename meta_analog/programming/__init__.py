"""Programming, writing, verification and refresh of crossbar devices."""
