"""How tests wait for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_SECS = 120.0


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Poll; after LIMIT_SECS the test fails with `what`."""
    end = time.monotonic() + LIMIT_SECS
    while not holds():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)
