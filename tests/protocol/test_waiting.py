"""What ends a wait."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from fedvoice.protocol.waiting import wait_for_stop

SIGNALLED_ELSEWHERE = """
import signal, threading, time
from fedvoice.protocol.waiting import wait_for_stop

stopping, idle = threading.Event(), threading.Thread(target=time.sleep, args=(60,), daemon=True)
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
idle.start()
# To another thread than the one that waits: its wait is not cut short, as when the signal comes
# just before it begins.
late = threading.Timer(0.3, lambda: signal.pthread_kill(idle.ident, signal.SIGTERM))
late.start()
assert wait_for_stop(stopping, 50)
"""


def test_a_wait_is_over_when_it_says_or_when_the_event_is_set():
    stopping = threading.Event()
    begun = time.monotonic()
    assert not wait_for_stop(stopping, 0.3)
    assert time.monotonic() - begun >= 0.3
    stopping.set()
    assert wait_for_stop(stopping, 1000)


def test_a_signal_that_interrupts_no_wait_is_heard():
    subprocess.run([sys.executable, "-c", SIGNALLED_ELSEWHERE], check=True, timeout=40)
