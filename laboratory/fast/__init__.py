"""The fast engine: local training in eager PyTorch, held to the phones' by conformance tests."""
