"""What a run measured and how it is shown: results, tables, figures, `report.html`.

Imports `protocol` and `algorithm`; simulations, experiments and the command call it.
"""
