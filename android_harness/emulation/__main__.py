"""An emulated phone for `adb connect`, until Ctrl-C.

    python -m fedvoice.android_harness.emulation --state device-a --port 6555
    adb connect 127.0.0.1:6555
    fedvoice deploy --store task-store --consent --now

Its app is the Kotlin phone on Android's own ExecuTorch binary; `--conditions` names a JSON file
with charging, idle, unmetered, battery_percent and temperature_celsius, read at every poll.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from fedvoice.android_harness.emulation.adbd import Adbd
from fedvoice.android_harness.emulation.device import EmulatedDevice
from fedvoice.android_harness.emulation.jvm import find_phone
from fedvoice.protocol.errors import FedvoiceError


def main(arguments: list[str]) -> int:
    """Serve one device; 2 with the reason if this machine cannot."""
    parser = argparse.ArgumentParser(
        prog="python -m fedvoice.android_harness.emulation",
        description=(__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--state", type=Path, default=Path("emulated-device"))
    # Beyond the ports that adb looks through for emulators by itself.
    parser.add_argument("--port", type=int, default=6555)
    parser.add_argument("--conditions", type=Path)
    given = parser.parse_args(arguments)
    try:
        device = EmulatedDevice(given.state.absolute(), find_phone(), conditions=given.conditions)
    except FedvoiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    adbd = Adbd(device, given.port)
    print(f"adb connect {adbd.address}", flush=True)
    try:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        adbd.close()
        device.close()
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main(sys.argv[1:]))
