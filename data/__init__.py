"""Corpora: readers, decoding, manifests, partitions, buckets, synthetic voices.

Yields references to waveforms or arrays, never features. Imports `protocol` alone.
"""
