"""How the server's process allocates memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8


def one_heap() -> None:
    """Let all threads of this process allocate from one heap (glibc; elsewhere nothing happens).

    gRPC allocates in one thread and frees in another. With a heap a thread, the freed half of each
    is kept and faulted in anew: with 24 phones a fifth more memory and twice the processor time an
    update (`benchmarks/server_intake.py`).
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
