"""What tests of readers share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def fedvoice() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command; the finished process with its output as text."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fedvoice", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run
