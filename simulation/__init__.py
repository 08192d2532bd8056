"""Drives `algorithm` without phones, or with a fleet of emulated ones.

Engines, featurising, worker pools, the fleet; experiments and the public API call it.
"""
