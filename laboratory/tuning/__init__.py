"""Hyper-parameter search with two objectives, quality and cost."""
