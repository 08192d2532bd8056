"""How the server's process allocates memory."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8
_BETWEEN_COLLECTIONS = 20_000


def one_heap() -> None:
    """Let all threads of this process allocate from one heap (glibc; elsewhere nothing happens).

    gRPC allocates in one thread and frees in another. With a heap a thread, the freed half of each
    is kept and faulted in anew: with 24 phones a fifth more memory and twice the processor time an
    update (`benchmarks/server_intake.py`).

    Python also looks for cycles less often: calls make much that is freed at once, and few of them.
    """
    gc.set_threshold(_BETWEEN_COLLECTIONS)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
