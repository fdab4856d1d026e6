"""Configs: defaults, validation, and what is built from them."""
