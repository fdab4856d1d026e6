"""Config files: each the difference to `meta_analog.config.defaults`."""
