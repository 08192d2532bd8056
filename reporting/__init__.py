"""Results of a run, and their presentation: tables, figures, `report.html`.

Imports `protocol` and `algorithm`; simulations, experiments and the command call it.
"""
