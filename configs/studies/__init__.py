"""Studies: rows of configs, their seeds and the columns of their table."""
