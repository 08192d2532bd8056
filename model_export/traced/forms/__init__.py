"""Layers with gradients written by hand, in the operators that phones' runtimes run fast.

Each is exact: its value and gradients are those of PyTorch's own layer up to rounding.
"""
