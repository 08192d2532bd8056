"""Waits that a signal ends."""

from __future__ import annotations

import threading
import time

_PIECE_SECS = 0.2


def wait_for_stop(stopping: threading.Event, secs: float) -> bool:
    """Wait until `stopping` is set, or `secs` have passed; whether it is set. In the main thread.

    In pieces: a signal that comes just before one long wait begins has its handler, which sets
    the event or raises, run when that wait is over and not before.
    """
    end = time.monotonic() + secs
    while (left := end - time.monotonic()) > 0 and not stopping.is_set():
        stopping.wait(min(left, _PIECE_SECS))
    return stopping.is_set()
