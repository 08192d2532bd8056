"""Readers of published corpora: one module a family. What they share is in `reading.py`."""
