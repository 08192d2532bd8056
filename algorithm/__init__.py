"""The federated algorithm as explicit state and pure functions, with its settings.

No I/O, no clock, no torch. Servers and simulations drive it; it imports `protocol` alone.
"""
