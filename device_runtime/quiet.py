"""Keeps a native library's harmless notices off the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_NOTICE = re.compile(rb"^\[(cpuinfo_utils|threadpool)\.cpp:\d+\] ")
"""What ExecuTorch says about the processor when its thread pool is made: it looks for files that
only some phones have, and goes on without them."""


@contextmanager
def without_processor_notices() -> Iterator[None]:
    """Within this, native code's lines about the processor are dropped; all others are written
    when it ends. Nothing happens in a process without standard error."""
    try:
        before = os.dup(2)
    except OSError:
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            rest = b"".join(line for line in held if not _NOTICE.match(line))
            while rest:
                rest = rest[os.write(2, rest) :]
