"""Experiments: a grid of cells as one TOML file, run resumably, rendered as tables and plots."""
