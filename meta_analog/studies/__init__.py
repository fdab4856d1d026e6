"""Studies: rows of configs times seeds, run and gathered into tables."""
