"""The fast engine: the phone's local training in batched PyTorch."""
