"""Files, signals, processes, compilation and checkpoints."""
