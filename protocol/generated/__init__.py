"""Stubs made by `python -m protocol.generate`; never edited by hand."""
