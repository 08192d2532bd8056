"""Eager models as plain PyTorch modules, with the losses of one client and of many at once."""
