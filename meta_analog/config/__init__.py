"""Configs: defaults, validation, and construction of what they name."""
