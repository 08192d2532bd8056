"""From graphs to one ExecuTorch program."""
