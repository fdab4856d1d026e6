"""Contracts, numerics and errors: the base of every other package."""
