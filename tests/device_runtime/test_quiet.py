"""Notices about the processor are dropped, everything else is written."""

from __future__ import annotations

import os
import subprocess
import sys

from fedvoice.device_runtime.quiet import without_processor_notices


def test_only_the_notices_are_dropped(capfd):
    with without_processor_notices():
        os.write(2, b"[cpuinfo_utils.cpp:71] Reading file /sys/devices/soc0/image_version\n")
        os.write(2, b"[threadpool.cpp:66] Resetting threadpool to 1 threads.\nsomething else\n")
        os.write(2, b"[method.cpp:1] an error of the runtime")
    os.write(2, b"\nafter\n")
    assert (
        capfd.readouterr().err == "something else\n[method.cpp:1] an error of the runtime\nafter\n"
    )


def test_a_process_without_standard_error_goes_on():
    program = (
        "from fedvoice.device_runtime.quiet import without_processor_notices\n"
        "with without_processor_notices(): print('inside')"
    )
    closed = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(closed, stdout=subprocess.PIPE, check=True).stdout == b"inside\n"
