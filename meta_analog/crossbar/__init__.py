"""Arrays of differential pairs, their periphery and their products."""
