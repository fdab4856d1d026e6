"""Figures and tables, from numbers alone."""
