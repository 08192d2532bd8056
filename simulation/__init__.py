"""Simulation: drives `algorithm` in process, or with a fleet of emulated phones.

Engines, featurising, worker pools and the fleet. Experiments and the public API call it.
"""
