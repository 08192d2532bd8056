"""Models that people bring, as tasks: `python -m benchmarks.zoo` measures them.

Each is a module around a library's own class, or written from its paper, whose `forward` takes
named inputs and returns a loss a row; see `docs/your-model.md`.
"""
