"""The `fedvoice` command; the rooms it opens are the packages beside it."""

__version__ = "0.1.0"
