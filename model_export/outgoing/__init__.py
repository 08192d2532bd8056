"""A trained model as files that other runtimes read: PyTorch, ONNX, sherpa-onnx, ExecuTorch.

`fedvoice release` calls `release`; each format is a file of its own here.
"""
