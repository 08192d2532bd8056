"""The aggregation server: rounds, exact aggregation, server optimisers, cost books, durable store.

Imports `protocol` only; runs without torch and executorch.
"""
