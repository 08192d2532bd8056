"""Experiments: a grid of trials as one TOML file, run resumably, rendered as tables and plots."""
